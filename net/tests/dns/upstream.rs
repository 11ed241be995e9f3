//! Name servers of the internet, as far as a test needs them: they answer everything, and write down what they hear.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};

/// One question as it arrived.
#[derive(Clone)]
pub(super) struct Heard {
    pub(super) bytes: Vec<u8>,
    pub(super) from: SocketAddr,
    pub(super) by_tcp: bool,
}

/// A server, and its notes.
pub(super) struct Upstream {
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// What a server makes of the nth question: its answers, of which there may be none or several.
pub(super) type Manner = fn(nth: usize, question: &[u8]) -> Vec<Vec<u8>>;

impl Upstream {
    /// Serve at `ip`, port 53, of this thread's network, by udp and by tcp.
    pub(super) fn at(ip: &str, manner: Manner) -> Upstream {
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let socket = UdpSocket::bind((ip, 53)).unwrap();
        let notes = heard.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 65535];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let nth = note(&notes, &bytes[..length], from, false);
                manner(nth, &bytes[..length]).iter().for_each(|it| drop(socket.send_to(it, from)));
            }
        });
        let listener = TcpListener::bind((ip, 53)).unwrap();
        let notes = heard.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                let notes = notes.clone();
                std::thread::spawn(move || {
                    let mut length = [0; 2];
                    while stream.read_exact(&mut length).is_ok() {
                        let mut bytes = vec![0; u16::from_be_bytes(length).into()];
                        stream.read_exact(&mut bytes).unwrap();
                        let nth = note(&notes, &bytes, from, true);
                        for answer in manner(nth, &bytes) {
                            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                            // In pieces, as the internet may bring it.
                            [&length[..1], &length[1..]].iter().for_each(|it| drop(stream.write_all(it)));
                            answer.chunks(1000).for_each(|it| drop(stream.write_all(it)));
                        }
                    }
                });
            }
        });
        Upstream { heard }
    }

    /// Everything it has been asked.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// The names it has been asked for.
    pub(super) fn names(&self) -> Vec<String> {
        let name = |heard: &Heard| Message::from_vec(&heard.bytes).unwrap().queries[0].name().to_ascii();
        self.heard().iter().map(name).collect()
    }
}

fn note(notes: &Mutex<Vec<Heard>>, bytes: &[u8], from: SocketAddr, by_tcp: bool) -> usize {
    let mut notes = notes.lock().unwrap();
    notes.push(Heard { bytes: bytes.to_vec(), from, by_tcp });
    notes.len() - 1
}

/// Answer with so many addresses, from 192.0.2.1 on.
pub(super) fn addresses(question: &[u8], count: u8) -> Vec<u8> {
    let mut message = Message::from_vec(question).unwrap().into_response();
    let name = message.queries[0].name().clone();
    let record = |last| Record::from_rdata(name.clone(), 60, RData::A(A(Ipv4Addr::new(192, 0, 2, last))));
    let records: Vec<Record> = (1..=count).map(record).collect();
    message.add_answers(records);
    message.to_vec().unwrap()
}

/// Answer with a code.
pub(super) fn code(question: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut message = Message::from_vec(question).unwrap().into_response();
    message.metadata.response_code = code;
    message.to_vec().unwrap()
}

pub(super) fn answers(_nth: usize, question: &[u8]) -> Vec<Vec<u8>> {
    vec![addresses(question, 1)]
}

pub(super) fn fails(_nth: usize, question: &[u8]) -> Vec<Vec<u8>> {
    vec![code(question, ResponseCode::ServFail)]
}

pub(super) fn is_silent(_nth: usize, _question: &[u8]) -> Vec<Vec<u8>> {
    Vec::new()
}

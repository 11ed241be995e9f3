use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::{A, AAAA, PTR};

use super::*;
use crate::dice::{Dice, cases};

/// A question as clients write it: id 0x1234, RD.
fn asking(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len().try_into().unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&[kind.to_be_bytes(), 1u16.to_be_bytes()].concat());
    bytes
}

/// The same with an OPT record: RFC 6891, 6.1.2.
fn with_edns(mut bytes: Vec<u8>, udp_bytes: u16, version: u8, flags: u16) -> Vec<u8> {
    bytes[11] += 1;
    bytes.extend_from_slice(&[0, 0, 41]);
    bytes.extend_from_slice(&udp_bytes.to_be_bytes());
    bytes.extend_from_slice(&[0, version]);
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

fn question(bytes: &[u8]) -> Question {
    match read(bytes) {
        Asked::Question(question) => question,
        Asked::Refused(answer) => panic!("refused: {answer:02x?}"),
        Asked::Rubbish => panic!("taken for rubbish"),
    }
}

fn refused(bytes: &[u8]) -> Message {
    let Asked::Refused(answer) = read(bytes) else { panic!("not refused") };
    Message::from_vec(&answer).unwrap()
}

fn addresses(count: u32) -> Vec<RData> {
    (0..count).map(|number| RData::A(A(Ipv4Addr::from(0x0a00_0000 + number)))).collect()
}

#[test]
fn an_answer_is_written_byte_for_byte() {
    let asked = asking("Web", 1);
    let answer = question(&asked).answer(ResponseCode::NoError, addresses(1), 512);
    let mut wanted = asked.clone();
    // QR AA RD, RA; one answer: a pointer to the question's name, A, IN, 600 s, 4 bytes.
    wanted[2..4].copy_from_slice(&[0x85, 0x80]);
    wanted[7] = 1;
    wanted.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 0x58, 0, 4, 10, 0, 0, 0]);
    assert_eq!(answer, wanted);
}

#[test]
fn a_long_answer_is_cut_to_what_the_client_takes() {
    for (asked, takes) in [
        (asking("web", 1), 512),
        (with_edns(asking("web", 1), 1000, 0, 0), 1000),
        // RFC 6891, 6.2.3: less than 512 means 512.
        (with_edns(asking("web", 1), 20, 0, 0), 512),
    ] {
        let question = question(&asked);
        assert_eq!(question.udp_bytes_max(), takes);
        let bytes = question.answer(ResponseCode::NoError, addresses(200), takes);
        let answer = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= takes && bytes.len() + 28 > takes, "{} of {takes} bytes", bytes.len());
        assert!(answer.metadata.truncation);
        assert_eq!(answer.edns.is_some(), asked[11] == 1);
        let whole = Message::from_vec(&question.answer(ResponseCode::NoError, addresses(200), TCP_BYTES_MAX)).unwrap();
        assert_eq!((whole.answers.len(), whole.metadata.truncation), (200, false));
    }
    let question = question(&asking("web", 28));
    let many = vec![RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)); 5000];
    let bytes = question.answer(ResponseCode::NoError, many, TCP_BYTES_MAX);
    assert!(Message::from_vec(&bytes).unwrap().metadata.truncation && bytes.len() <= TCP_BYTES_MAX);
}

#[test]
fn a_name_that_does_not_fit_is_left_out() {
    let long = Name::from_labels(["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(59)]).unwrap();
    let asked = asking(&long.to_ascii(), 12);
    let far = Name::from_labels(["e".repeat(63), "f".repeat(63), "g".repeat(63), "h".repeat(59)]).unwrap();
    let bytes = question(&asked).answer(ResponseCode::NoError, vec![RData::PTR(PTR(far))], 512);
    let answer = Message::from_vec(&bytes).unwrap();
    assert!(answer.metadata.truncation && answer.answers.is_empty() && bytes.len() <= 512);
}

#[test]
fn edns_is_answered_in_kind() {
    let answer = |asked: &[u8]| {
        Message::from_vec(&question(asked).answer(ResponseCode::NoError, addresses(1), 512)).unwrap().edns
    };
    assert_eq!(answer(&asking("web", 1)), None);
    let edns = answer(&with_edns(asking("web", 1), 4096, 0, 0x8000)).unwrap();
    // RFC 3225, 3: the DO bit is copied.
    assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (1232, 0, true));
    // RFC 6891, 6.1.3.
    let refused = refused(&with_edns(asking("web", 1), 4096, 1, 0));
    // 16 has two names: BADVERS here, BADSIG in a TSIG record.
    assert_eq!(u16::from(refused.metadata.response_code), 16);
    assert_eq!((refused.edns.unwrap().version(), refused.queries.len()), (0, 1));
}

#[test]
fn what_is_no_question_is_refused_or_ignored() {
    let with = |at: usize, byte: u8| {
        let mut bytes = asking("web", 1);
        bytes[at] = byte;
        bytes
    };
    let code = |bytes: &[u8]| {
        let message = refused(bytes);
        assert_eq!(message.metadata.id, 0x1234);
        message.metadata.response_code
    };
    // STATUS, NOTIFY, UPDATE and opcodes that do not exist: RFC 8906, 3.1.4.
    for opcode in [1, 2, 4, 5, 6, 15] {
        assert_eq!(code(&with(2, opcode << 3 | 1)), ResponseCode::NotImp, "{opcode}");
    }
    // No question, two, a name that ends nowhere, one that points to itself, one cut short.
    assert_eq!(code(&with(5, 0)), ResponseCode::FormErr);
    assert_eq!(code(&with(5, 2)), ResponseCode::FormErr);
    assert_eq!(code(&with(12, 0xc0)), ResponseCode::FormErr);
    assert_eq!(code(&[with(12, 0xc0), vec![12]].concat()), ResponseCode::FormErr);
    assert_eq!(code(&asking("web", 1)[..20]), ResponseCode::FormErr);
    assert_eq!(code(&with(4, 0xff)), ResponseCode::FormErr);
    // Records that are announced and not there; two OPT (RFC 6891, 6.1.1).
    assert_eq!(code(&with(11, 1)), ResponseCode::FormErr);
    let twice = with_edns(with_edns(asking("web", 1), 512, 0, 0), 512, 0, 0);
    assert_eq!(code(&twice), ResponseCode::FormErr);
    assert_eq!(code(&[asking("web", 1), vec![0; 5000]].concat()), ResponseCode::FormErr);
    assert_eq!(code(&asking("web", 252)), ResponseCode::Refused);
    // An answer; what is shorter than a header.
    assert!(matches!(read(&with(2, 0x81)), Asked::Rubbish));
    assert!((0..12).all(|length| matches!(read(&asking("web", 1)[..length]), Asked::Rubbish)));
}

#[test]
fn an_answer_must_be_ours() {
    let asked = asking("www.example.com", 1);
    let query = question(&asked).query().clone();
    let answer = |name: &str, kind: u16, flags: [u8; 2]| {
        let mut bytes = asking(name, kind);
        bytes[2..4].copy_from_slice(&flags);
        bytes
    };
    let judged = |bytes: &[u8]| judge(bytes, 0x1234, &query);
    assert!(matches!(judged(&answer("www.example.com", 1, [0x81, 0x80])), Heard::Answer));
    assert!(matches!(judged(&answer("WWW.example.com", 1, [0x81, 0x80])), Heard::Answer));
    assert!(matches!(judged(&answer("www.example.com", 1, [0x81, 0x83])), Heard::Answer));
    assert!(matches!(judged(&answer("www.example.com", 1, [0x81, 0x82])), Heard::Failure));
    assert!(matches!(judged(&answer("www.example.com", 1, [0x81, 0x85])), Heard::Failure));
    // Another name, another type, a question, another id.
    assert!(matches!(judged(&answer("www.example.org", 1, [0x81, 0x80])), Heard::Other));
    assert!(matches!(judged(&answer("www.example.com", 28, [0x81, 0x80])), Heard::Other));
    assert!(matches!(judged(&asked), Heard::Other));
    assert!(matches!(judge(&answer("www.example.com", 1, [0x81, 0x80]), 0x1235, &query), Heard::Other));
    // Without the question: only from a server that could not read it.
    let bare = |code| [0x12, 0x34, 0x81, code, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(judged(&bare(0x81)), Heard::Answer));
    assert!(matches!(judged(&bare(0x82)), Heard::Failure));
    assert!(matches!(judged(&bare(0x80)), Heard::Other));
}

fn number(dice: &mut Dice) -> u16 {
    u16::from_be_bytes([byte(dice), byte(dice)])
}

fn byte(dice: &mut Dice) -> u8 {
    dice.bits().to_be_bytes()[7]
}

/// A good message with some of it changed, cut, doubled or replaced.
fn spoiled(dice: &mut Dice) -> Vec<u8> {
    let long = "x".repeat(63);
    let name = dice.pick(&["web", "a.b.c.d.e.f", "2.0.168.192.in-addr.arpa", &long, ""]);
    let mut bytes = asking(name, dice.pick(&[1, 28, 12, 255, 41, 250, 6, 33, 65535]));
    if dice.one_in(2) {
        bytes = with_edns(bytes, number(dice), 0, number(dice));
    }
    for _ in 0..dice.below(6) {
        let at = dice.below(bytes.len().max(1));
        match dice.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.extend((0..dice.below(40)).map(|_| byte(dice))),
            2 => bytes.extend_from_within(at.min(bytes.len())..),
            3 if at < bytes.len() => bytes[at] = dice.pick(&[0, 0xc0, 0xff, 63, 64, 12]),
            _ if at < bytes.len() => bytes[at] = byte(dice),
            _ => {}
        }
    }
    bytes
}

#[test]
fn nothing_that_comes_breaks_it() {
    let mut seen = [0; 3];
    for mut case in cases(20) {
        for _ in 0..400 {
            let bytes = spoiled(&mut case.dice);
            let answer = match read(&bytes) {
                Asked::Question(question) => {
                    seen[0] += 1;
                    judge(&bytes, question.id(), question.query());
                    question.answer(ResponseCode::NoError, addresses(60), question.udp_bytes_max().min(512))
                }
                Asked::Refused(answer) => {
                    seen[1] += 1;
                    answer
                }
                Asked::Rubbish => {
                    seen[2] += 1;
                    assert!(bytes.len() < 12 || bytes[2] & 0x80 != 0, "{bytes:02x?}");
                    continue;
                }
            };
            let message = Message::from_vec(&answer).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
            assert_eq!(message.metadata.message_type, MessageType::Response);
            assert!(answer[..2] == bytes[..2] && answer.len() <= 512, "{bytes:02x?}");
        }
    }
    assert!(seen.iter().all(|count| *count > 100), "the dice are loaded: {seen:?}");
}

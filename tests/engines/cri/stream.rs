//! The streams of an exec or an attach: a WebSocket (RFC 6455) with Kubernetes' `v4.channel.k8s.io` in it.
//!
//! The first byte of a message is its channel: 0 input, 1 output, 2 errors, 3 how it ended, 4 the terminal's size. The
//! server listens on the host's own 127.0.0.1, which the test is not in: `nc` carries the bytes.

use crate::support::{Host, Running};
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// Open streams.
pub(in super::super) struct Stream {
    running: Running,
}

/// Any sixteen bytes in base64: the server proves with it that it understands WebSockets.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

impl Stream {
    /// Connect to the address that an exec or an attach was answered with.
    pub(in super::super) fn open(host: &Host, url: &str) -> Stream {
        let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("not an address: {url}"));
        let (server, path) = rest.split_once('/').unwrap();
        let (address, port) = server.rsplit_once(':').unwrap();
        let mut stream =
            Stream { running: host.spawn("/usr/bin/timeout", &["60", "/bin/busybox", "nc", address, port]) };
        let hello = format!(
            "GET /{path} HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
        );
        stream.write(hello.as_bytes());
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(stream.read(1).unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&head))));
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream
    }

    /// Send on a channel.
    pub(in super::super) fn send(&mut self, channel: u8, words: &str) {
        let length = u8::try_from(words.len() + 1).ok().filter(|length| *length < 126).expect("a test sends few words");
        // A whole binary message; a client's are masked, and a mask of zeros changes nothing.
        let frame = [&[0x82, 0x80 | length, 0, 0, 0, 0, channel], words.as_bytes()].concat();
        self.write(&frame);
    }

    /// What came on each channel until the other side has closed.
    pub(in super::super) fn finish(self) -> BTreeMap<u8, String> {
        self.until(|_| false)
    }

    /// What came on each channel until it is enough.
    pub(in super::super) fn until(mut self, enough: impl Fn(&BTreeMap<u8, String>) -> bool) -> BTreeMap<u8, String> {
        let mut heard = BTreeMap::new();
        while !enough(&heard) {
            let Some(message) = self.message() else { break };
            if let Some((channel, words)) = message.split_first() {
                *heard.entry(*channel).or_insert_with(String::new) += &String::from_utf8_lossy(words);
            }
        }
        heard
    }

    /// The next message; none when the other side has closed.
    fn message(&mut self) -> Option<Vec<u8>> {
        let head = self.read(2)?;
        let length = match head[1] & 0x7f {
            126 => self.read(2)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            127 => self.read(8)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            short => usize::from(short),
        };
        let body = self.read(length)?;
        // 8 is the farewell.
        (head[0] & 0xf != 8).then_some(body)
    }

    fn write(&mut self, bytes: &[u8]) {
        let stdin = self.running.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    fn read(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.running.child.stdout.as_mut().expect("it is piped").read_exact(&mut bytes).ok().map(|()| bytes)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        drop(self.running.child.stdin.take());
        let _ = self.running.child.kill();
        let _ = self.running.child.wait();
    }
}

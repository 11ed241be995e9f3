//! Calls of gRPC over a Unix socket: HTTP/2 with one message each way (PROTOCOL-HTTP2.md of gRPC).

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A service behind a socket.
pub(super) struct Service {
    socket: PathBuf,
    name: &'static str,
    threads: tokio::runtime::Runtime,
}

/// An answer that is no message.
#[derive(Debug)]
pub(in super::super) struct Refused {
    pub(in super::super) code: String,
    pub(in super::super) message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gRPC status {}: {}", self.code, self.message)
    }
}

/// No single call takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

impl Service {
    /// The service of this full name.
    pub(super) fn new(socket: &Path, name: &'static str) -> Service {
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Service { socket: socket.to_owned(), name, threads }
    }

    /// Call a method and wait for its answer.
    pub(super) fn call<Question: Message, Answer: Message + Default>(
        &self,
        method: &str,
        question: &Question,
    ) -> Result<Answer, Refused> {
        let path = format!("http://localhost/{}/{method}", self.name);
        let said = self.threads.block_on(async {
            let exchange = exchange(&self.socket, &path, framed(question));
            tokio::time::timeout(PATIENCE, exchange)
                .await
                .unwrap_or_else(|_| panic!("{method}: no answer within a minute"))
        });
        let body = said.unwrap_or_else(|error| panic!("{method}: {error}"))?;
        // One byte of flags and four of length go before the message.
        Ok(Answer::decode(body.get(5..).unwrap_or_default()).unwrap_or_else(|error| panic!("{method}: {error}")))
    }
}

/// A message as gRPC sends it: not compressed, its length, itself.
fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("a test's message is small"));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}

type Answered = Result<Result<Vec<u8>, Refused>, Box<dyn std::error::Error>>;

async fn exchange(socket: &Path, path: &str, question: Bytes) -> Answered {
    let stream = tokio::net::UnixStream::connect(socket).await?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    let answer = ask(sender, path, question).await;
    driver.abort();
    answer
}

async fn ask(mut sender: SendRequest<Bytes>, path: &str, question: Bytes) -> Answered {
    let request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers").body(())?;
    let (response, mut upload) = sender.send_request(request, false)?;
    upload.send_data(question, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut received = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        received.extend_from_slice(&part);
    }
    // A refusal without a message has its status in the first headers.
    let end = body.trailers().await?.unwrap_or(head.headers);
    Ok(match field(&end, "grpc-status").as_str() {
        "0" => Ok(received),
        code => Err(Refused { code: code.to_owned(), message: field(&end, "grpc-message") }),
    })
}

fn field(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

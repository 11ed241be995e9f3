//! A server that says who is calling, and the client for it: reachability and source addresses in one line.

use nix::sys::signal::{SigSet, Signal};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// `serve PORT [tcp|udp] [4|6]`: answer every caller with its own address as this side sees it.
/// With `echo` as a last word the first line that is sent comes back too.
pub(crate) fn serve(rest: &[&str]) -> Result<u8, String> {
    let (port, options) = rest.split_first().ok_or("serve which port?")?;
    let port: u16 = port.parse().map_err(|_| format!("{port} is not a port"))?;
    let any: IpAddr = if options.contains(&"6") { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    // The first process of a container is only ended by signals that it waits for: pid_namespaces(7).
    let ends: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    ends.thread_block().map_err(|e| e.to_string())?;
    let udp = options.contains(&"udp");
    let address = SocketAddr::new(any, port);
    let server = std::thread::spawn(move || if udp { serve_udp(address) } else { serve_tcp(address) });
    let signal = std::thread::spawn(move || ends.wait());
    while !signal.is_finished() {
        if server.is_finished() {
            return server.join().map_err(|_| "the server panicked".to_owned())?;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(0)
}

fn serve_tcp(address: SocketAddr) -> Result<u8, String> {
    let listener = TcpListener::bind(address).map_err(|e| e.to_string())?;
    println!("ready");
    let _ = std::io::stdout().flush();
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        std::thread::spawn(move || answer(stream));
    }
    Ok(0)
}

fn answer(mut stream: TcpStream) {
    let Ok(peer) = stream.peer_addr() else { return };
    let Ok(local) = stream.local_addr() else { return };
    let line = json!({ "you": peer.to_string(), "me": local.to_string(), "host": hostname() });
    let _ = writeln!(stream, "{line}");
}

fn hostname() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn serve_udp(address: SocketAddr) -> Result<u8, String> {
    let socket = UdpSocket::bind(address).map_err(|e| e.to_string())?;
    println!("ready");
    let _ = std::io::stdout().flush();
    let mut buffer = [0_u8; 2048];
    loop {
        let (_, peer) = socket.recv_from(&mut buffer).map_err(|e| e.to_string())?;
        let line = json!({ "you": peer.to_string(), "host": hostname() });
        let _ = socket.send_to(format!("{line}\n").as_bytes(), peer);
    }
}

/// `connect ADDRESS PORT [tcp|udp]`: print what the server says, or the reason why there is none (exit code 111).
pub(crate) fn connect(rest: &[&str]) -> Result<u8, String> {
    let [address, port, options @ ..] = rest else { return Err("connect where?".to_owned()) };
    let address: IpAddr = address.parse().map_err(|_| format!("{address} is not an address"))?;
    let port: u16 = port.parse().map_err(|_| format!("{port} is not a port"))?;
    let to = SocketAddr::new(address, port);
    let patience = Duration::from_millis(1500);
    let heard = if options.contains(&"udp") { ask_udp(to, patience) } else { ask_tcp(to, patience) };
    print!("{}", heard.map_err(|e| format!("{:?}", e.kind()))?);
    Ok(0)
}

fn ask_tcp(to: SocketAddr, patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard)?;
    Ok(heard)
}

fn ask_udp(to: SocketAddr, patience: Duration) -> std::io::Result<String> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(b"hello\n")?;
    let mut buffer = [0_u8; 2048];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

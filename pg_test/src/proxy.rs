//! A proxy between a server and its providers.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

/// A proxy that connects its clients to whatever host they name (RFC 9110 section 9.3.6).
pub struct Proxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy to whatever its clients ask for.
    pub fn start() -> Self {
        Self::listen(None)
    }

    /// A proxy behind which every host is at this port of this machine.
    pub fn to(port: u16) -> Self {
        Self::listen(Some(port))
    }

    fn listen(target: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = heads.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let noted = noted.clone();
                thread::spawn(move || connect(client, target, &noted));
            }
        });
        Self { port, heads }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }

    /// The hosts that were asked for so far.
    pub fn hosts(&self) -> Vec<String> {
        let host = |head: &String| head.strip_prefix("CONNECT ")?.split(' ').next().map(str::to_owned);
        self.heads.lock().iter().map(|head| host(head).expect("CONNECT")).collect()
    }
}

fn connect(client: TcpStream, target: Option<u16>, noted: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    noted.lock().push(head.clone());
    let host = head.split(' ').nth(1).unwrap_or_default();
    let server = match target {
        Some(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, port))?,
        None => TcpStream::connect(host)?,
    };
    (&client).write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    io::copy(&mut &server, &mut &client)?;
    client.shutdown(Shutdown::Write)
}

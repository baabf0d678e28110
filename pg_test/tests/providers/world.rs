//! The hosts of all providers: one server with a certificate for each of them, and a proxy that leads to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use pg_test::{Authority, Proxy, Validity};
use rustls::{ServerConnection, StreamOwned};

use crate::documented::{Documented, Served};

/// What providers show to those alone who show this.
pub const SERVICE_TOKEN: &str = "service-account-token";

pub struct World {
    /// The authority that its certificate is of, in PEM.
    pub authority: String,
    /// The proxy behind which its hosts are.
    pub proxy: Proxy,
}

impl World {
    /// The hosts of these providers, which serve as long as this process lives.
    pub fn of(providers: &[Documented]) -> Self {
        let served = providers.iter().flat_map(|provider| &provider.served);
        let answers: BTreeMap<String, (String, bool)> =
            served.map(|(url, served)| (url.clone(), (answer(served), served.is_authorized))).collect();
        let hosts: BTreeSet<_> = answers.keys().filter_map(|url| url.split('/').nth(2)).map(str::to_owned).collect();
        let authority = Authority::new();
        let config = authority.issue_for(hosts.into_iter().collect(), Validity::Valid).server_config();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let answers = Arc::new(answers);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, config) = (answers.clone(), config.clone());
                thread::spawn(move || {
                    let connection = ServerConnection::new(config).expect("a connection");
                    let _ = serve(StreamOwned::new(connection, stream), &answers);
                });
            }
        });
        Self { authority: authority.pem(), proxy: Proxy::to(port) }
    }
}

fn answer(served: &Served) -> String {
    let header =
        |(name, value): (&String, &serde_json::Value)| format!("{name}: {}\r\n", value.as_str().expect("a text"));
    let headers: String = served.headers.iter().map(header).collect();
    let length = served.body.len();
    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{}", served.body)
}

fn serve(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    answers: &BTreeMap<String, (String, bool)>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request);
    let header = |wanted: &str| {
        let mut headers = request.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let path = request.split(' ').nth(1).unwrap_or_default();
    let answer = match answers.get(&format!("https://{}{path}", header("host").unwrap_or_default())) {
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        Some((_, true)) if header("authorization") != Some(&format!("Bearer {SERVICE_TOKEN}")) => {
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        }
        Some((answer, _)) => answer,
    };
    stream.write_all(answer.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}

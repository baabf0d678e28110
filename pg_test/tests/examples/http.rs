//! A client of HTTP/1.1 (RFC 9112) for one request a connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

pub struct Response {
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    pub body: Value,
}

/// Sends a request to 127.0.0.1 and reads the JSON that answers it. `None` where nobody listens.
pub fn try_request(port: u16, line: &str, headers: &[(&str, &str)], body: &str) -> Option<Response> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let mut request = format!("{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).expect("a request sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response in UTF-8");
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{line}: {response:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Some(Response {
        status: status.unwrap_or_else(|| panic!("{line}: {head}")),
        head: head.to_lowercase(),
        body: serde_json::from_str(body).unwrap_or_else(|error| panic!("{line}: {error}: {body:?}")),
    })
}

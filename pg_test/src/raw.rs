//! A client that speaks the protocol itself, for what drivers do not do: logging in with a token by OAUTHBEARER
//! (RFC 7628), knowing what it was asked for, and hearing all that the server answers.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use rustls::{ClientConnection, StreamOwned};

use crate::tls::client_config;
use crate::{Cluster, PgError};

/// How a client shows who it is.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// Not at all.
    None,
    /// A token, by OAUTHBEARER.
    Bearer(&'a str),
    /// The whole `auth` member of OAUTHBEARER, which is to be `Bearer` and a token.
    Auth(&'a str),
    /// A password, by SCRAM-SHA-256.
    Password(&'a str),
    /// A password as it is, to whoever asks for one.
    Cleartext(&'a str),
    /// The same, made once the server has asked.
    Prompted(&'a (dyn Fn() -> String + Sync)),
    /// No answer to whoever asks for a password: the client goes away.
    Leave,
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What the server reported; without SQLSTATE where it closed the connection and said nothing.
    pub error: PgError,
    /// What OAUTHBEARER said before (RFC 7628 §3.2.2).
    pub challenge: Option<Box<str>>,
    /// Whether the server has asked for a password as it is.
    pub was_asked: bool,
}

/// A session.
pub struct RawClient {
    stream: Box<dyn Stream>,
    backend_pid: i32,
}

/// A connection.
trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// What the server said while it authenticated.
#[derive(Default)]
struct Said {
    challenge: Option<Box<str>>,
    was_asked: bool,
}

impl Said {
    fn refused(self, error: PgError) -> Refused {
        Refused { error, challenge: self.challenge, was_asked: self.was_asked }
    }
}

fn tcp(cluster: &Cluster) -> TcpStream {
    let stream = TcpStream::connect((cluster.host(), cluster.port())).expect("a connection");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    stream
}

/// The rows of a query as text.
pub type Rows = Vec<Vec<Option<String>>>;

impl RawClient {
    /// Connects over TCP.
    pub fn connect(cluster: &Cluster, user: &str, db: &str, credentials: Credentials) -> Result<Self, Refused> {
        Self::connect_with(cluster, &[("user", user), ("database", db)], credentials)
    }

    /// Connects with these parameters of the start-up message.
    pub fn connect_with(
        cluster: &Cluster,
        parameters: &[(&str, &str)],
        credentials: Credentials,
    ) -> Result<Self, Refused> {
        Self::begin(Box::new(tcp(cluster)), parameters, credentials)
    }

    /// The same over TLS, which the server has by [`crate::tls::encrypt`].
    pub fn connect_over_tls(
        cluster: &Cluster,
        parameters: &[(&str, &str)],
        credentials: Credentials,
    ) -> Result<Self, Refused> {
        let mut tcp = tcp(cluster);
        // SSLRequest.
        tcp.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).expect("a request for TLS");
        let mut answer = [0];
        tcp.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, *b"S", "the server has no TLS");
        let host = cluster.host().to_owned().try_into().expect("a host");
        let session = ClientConnection::new(client_config(cluster), host).expect("a TLS session");
        Self::begin(Box::new(StreamOwned::new(session, tcp)), parameters, credentials)
    }

    fn begin(stream: Box<dyn Stream>, parameters: &[(&str, &str)], credentials: Credentials) -> Result<Self, Refused> {
        let mut client = Self { stream, backend_pid: 0 };
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for text in parameters.iter().flat_map(|(name, value)| [name, value]) {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        let mut said = Said::default();
        match client.write(None, &body).and_then(|()| client.authenticate(credentials, &mut said)) {
            Ok(None) => Ok(client),
            Ok(Some(error)) => Err(said.refused(error)),
            Err(error) => Err(said.refused(closed(&error))),
        }
    }

    /// The process that serves this session.
    pub fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    /// Runs statements, and returns the rows of all of them.
    pub fn query(&mut self, statements: &str) -> Result<Rows, PgError> {
        let mut body = statements.as_bytes().to_vec();
        body.push(0);
        self.ask(b'Q', &body)
    }

    /// Calls a function by its OID (FunctionCall), with arguments as text.
    pub fn call(&mut self, function: u32, arguments: &[&str]) -> Result<(), PgError> {
        let mut body = function.to_be_bytes().to_vec();
        let count = u16::try_from(arguments.len()).expect("few arguments");
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&count.to_be_bytes());
        for argument in arguments {
            let length = u32::try_from(argument.len()).expect("a short argument");
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(argument.as_bytes());
        }
        body.extend_from_slice(&[0, 0]);
        self.ask(b'F', &body).map(drop)
    }

    /// Sends a message, and returns the rows of the answer, which ends when the server is ready.
    fn ask(&mut self, kind: u8, body: &[u8]) -> Result<Rows, PgError> {
        let mut rows = Vec::new();
        let mut failure = None;
        if let Err(error) = self.write(Some(kind), body) {
            return Err(closed(&error));
        }
        loop {
            match self.read() {
                Ok((b'D', body)) => rows.push(values(&body)),
                Ok((b'E', body)) => failure = Some(server_error(&body)),
                Ok((b'Z', _)) => return failure.map_or(Ok(rows), Err),
                Ok(_) => {}
                Err(error) => return Err(failure.unwrap_or_else(|| closed(&error))),
            }
        }
    }

    /// The one value of a query; panics where it fails.
    #[track_caller]
    pub fn value(&mut self, query: &str) -> Option<String> {
        let mut rows = self.query(query).unwrap_or_else(|error| panic!("{query}: {error:?}"));
        rows.pop().expect("a row").into_iter().next().expect("a column")
    }

    /// Until the server is ready; `Some` where it refuses.
    fn authenticate(&mut self, credentials: Credentials, said: &mut Said) -> io::Result<Option<PgError>> {
        let mut scram = None;
        loop {
            let (kind, body) = self.read()?;
            match (kind, kind == b'R', body.get(..4)) {
                (b'E', ..) => return Ok(Some(server_error(&body))),
                (b'K', ..) => self.backend_pid = i32::from_be_bytes(body[..4].try_into().expect("four bytes")),
                (b'Z', ..) => return Ok(None),
                // AuthenticationSASL, and the first message of the mechanism.
                (_, true, Some([0, 0, 0, 10])) => match credentials {
                    Credentials::Password(password) => {
                        let mechanism = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                        self.initial_response("SCRAM-SHA-256", mechanism.message())?;
                        scram = Some(mechanism);
                    }
                    Credentials::Bearer(token) => {
                        let message = format!("n,,\x01auth=Bearer {token}\x01\x01");
                        self.initial_response("OAUTHBEARER", message.as_bytes())?;
                    }
                    Credentials::Auth(auth) => {
                        self.initial_response("OAUTHBEARER", format!("n,,\x01auth={auth}\x01\x01").as_bytes())?;
                    }
                    Credentials::None | Credentials::Cleartext(_) | Credentials::Prompted(_) | Credentials::Leave => {
                        panic!("the server asks for other credentials")
                    }
                },
                // AuthenticationCleartextPassword.
                (_, true, Some([0, 0, 0, 3])) => {
                    said.was_asked = true;
                    let password = match credentials {
                        Credentials::Cleartext(password) => password.to_owned(),
                        Credentials::Prompted(prompt) => prompt(),
                        _ => return Err(io::ErrorKind::Interrupted.into()),
                    };
                    self.write(Some(b'p'), &[password.as_bytes(), b"\0"].concat())?;
                }
                // AuthenticationSASLContinue.
                (_, true, Some([0, 0, 0, 11])) => match &mut scram {
                    Some(mechanism) => {
                        mechanism.update(&body[4..])?;
                        let message = mechanism.message().to_vec();
                        self.write(Some(b'p'), &message)?;
                    }
                    None => {
                        said.challenge = Some(String::from_utf8_lossy(&body[4..]).into());
                        self.write(Some(b'p'), b"\x01")?;
                    }
                },
                // AuthenticationSASLFinal.
                (_, true, Some([0, 0, 0, 12])) => {
                    if let Some(mechanism) = &mut scram {
                        mechanism.finish(&body[4..])?;
                    }
                }
                _ => {}
            }
        }
    }

    fn initial_response(&mut self, mechanism: &str, message: &[u8]) -> io::Result<()> {
        let mut body = mechanism.as_bytes().to_vec();
        body.push(0);
        body.extend_from_slice(&i32::try_from(message.len()).expect("a short message").to_be_bytes());
        body.extend_from_slice(message);
        self.write(Some(b'p'), &body)
    }

    fn write(&mut self, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&i32::try_from(body.len() + 4).expect("a short message").to_be_bytes());
        message.extend_from_slice(body);
        self.stream.write_all(&message)
    }

    fn read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
        let mut body = vec![0; length as usize - 4];
        self.stream.read_exact(&mut body)?;
        Ok((head[0], body))
    }
}

impl Drop for RawClient {
    fn drop(&mut self) {
        // Terminate. The server may be gone.
        let _ = self.write(Some(b'X'), &[]);
    }
}

fn closed(error: &io::Error) -> PgError {
    PgError {
        sqlstate: String::new(),
        message: format!("connection closed: {:?}", error.kind()),
        detail: None,
        hint: None,
    }
}

fn server_error(body: &[u8]) -> PgError {
    let field = |code: u8| {
        let field = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&code))?;
        Some(String::from_utf8_lossy(&field[1..]).into_owned())
    };
    PgError {
        sqlstate: field(b'C').unwrap_or_default(),
        message: field(b'M').unwrap_or_default(),
        detail: field(b'D'),
        hint: field(b'H'),
    }
}

/// The columns of a DataRow message.
fn values(body: &[u8]) -> Vec<Option<String>> {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        // -1 is NULL.
        let (value, tail) = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                let (value, tail) = tail.split_at(length);
                (Some(String::from_utf8_lossy(value).into_owned()), tail)
            }
            Err(_) => (None, tail),
        };
        values.push(value);
        rest = tail;
    }
    values
}

//! A connection that asks Redis anything, one command at a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::PATIENCE;

/// What Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A line.
    Line(String),
    /// An error, with its code.
    Error(String),
    /// A number.
    Number(i64),
    /// Bytes, or nothing.
    Bytes(Option<Vec<u8>>),
    /// A list, or nothing.
    List(Option<Vec<Reply>>),
}

impl Reply {
    /// Bytes, lines and errors as text.
    ///
    /// # Panics
    /// For other replies.
    pub fn text(&self) -> String {
        match self {
            Self::Line(text) | Self::Error(text) => text.clone(),
            Self::Bytes(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The items of a list.
    ///
    /// # Panics
    /// For other replies.
    pub fn items(self) -> Vec<Reply> {
        match self {
            Self::List(Some(items)) => items,
            other => panic!("no list: {other:?}"),
        }
    }

    /// The bytes.
    ///
    /// # Panics
    /// For other replies.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Bytes(Some(bytes)) => bytes,
            other => panic!("no bytes: {other:?}"),
        }
    }

    /// The number.
    ///
    /// # Panics
    /// For other replies.
    pub fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            other => panic!("no number: {other:?}"),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).expect("the server takes connections")
    }

    /// Connects, or answers why not.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn try_connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// One command, its words separated by spaces.
    ///
    /// # Panics
    /// If Redis answers an error, or not at all.
    pub fn run(&mut self, command: &str) -> Reply {
        let words: Vec<&[u8]> = command.split_whitespace().map(str::as_bytes).collect();
        match self.ask(&words) {
            Reply::Error(error) => panic!("{command}: {error}"),
            reply => reply,
        }
    }

    /// One command; an error is a reply.
    ///
    /// # Panics
    /// If the connection breaks.
    pub fn ask(&mut self, words: &[&[u8]]) -> Reply {
        self.try_ask(words).expect("Redis answers")
    }

    /// One command.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn try_ask(&mut self, words: &[&[u8]]) -> std::io::Result<Reply> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&request)?;
        self.reply()
    }

    /// Every key of the server, by SCAN.
    ///
    /// # Panics
    /// If the connection breaks.
    pub fn keys(&mut self) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut cursor = b"0".to_vec();
        loop {
            let mut parts = self.ask(&[b"SCAN", &cursor, b"COUNT", b"1000"]).items();
            let keys = parts.pop().expect("keys").items();
            found.extend(keys.into_iter().map(Reply::bytes));
            cursor = parts.pop().expect("a cursor").bytes();
            if cursor == b"0" {
                found.sort();
                found.dedup();
                return found;
            }
        }
    }

    fn reply(&mut self) -> std::io::Result<Reply> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let bad = || std::io::Error::other(format!("not a reply: {line:?}"));
        let (kind, rest) = line.split_at_checked(1).ok_or_else(bad)?;
        let number = || rest.parse::<i64>().map_err(|_| bad());
        Ok(match kind {
            "+" => Reply::Line(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(number()?),
            "$" => Reply::Bytes(match usize::try_from(number()?) {
                Ok(n_bytes) => {
                    let mut bytes = vec![0; n_bytes + 2];
                    self.0.read_exact(&mut bytes)?;
                    bytes.truncate(n_bytes);
                    Some(bytes)
                }
                Err(_) => None,
            }),
            "*" => Reply::List(match usize::try_from(number()?) {
                Ok(n_items) => Some(
                    (0..n_items)
                        .map(|_| self.reply())
                        .collect::<Result<_, _>>()?,
                ),
                Err(_) => None,
            }),
            _ => return Err(bad()),
        })
    }
}

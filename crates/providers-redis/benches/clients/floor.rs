//! The floor: requests spelled into one buffer, answers read into another and never copied out of it.
//! It knows two kinds of replies, does not reconnect more than it must, and is no client for anything else.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::servers::slot_of;
use crate::{Answer, Reader};

/// A connection of the caller's own for as long as a call takes; as many as there are calls at once.
pub(crate) struct Exclusive {
    port: u16,
    is_mget: bool,
    idle: Mutex<Vec<(TcpStream, Vec<u8>, BytesMut)>>,
}

impl Exclusive {
    pub(crate) async fn mget(ports: Vec<u16>) -> Self {
        Self::new(ports[0], true)
    }

    pub(crate) async fn get(ports: Vec<u16>) -> Self {
        Self::new(ports[0], false)
    }

    fn new(port: u16, is_mget: bool) -> Self {
        Self {
            port,
            is_mget,
            idle: Mutex::default(),
        }
    }

    async fn call(&self, keys: &[Bytes]) -> Answer {
        let idle = self.idle.lock().unwrap().pop();
        let (mut stream, mut request, mut reply) = match idle {
            Some(idle) => idle,
            None => {
                let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
                stream.set_nodelay(true)?;
                (stream, Vec::new(), BytesMut::with_capacity(128 << 10))
            }
        };
        request.clear();
        spell(&mut request, keys, self.is_mget);
        stream.write_all(&request).await?;
        let mut seen = Seen::default();
        while seen.n_values < keys.len() {
            if stream.read_buf(&mut reply).await? == 0 {
                return Err("the server closed the connection".into());
            }
            seen.take(&mut reply)?;
        }
        reply.reserve(64 << 10);
        self.idle.lock().unwrap().push((stream, request, reply));
        Ok((seen.n_bytes, seen.n_values))
    }
}

impl Reader for Exclusive {
    fn read<'a>(&'a self, keys: &'a [Bytes]) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(self.call(keys))
    }
}

/// A request's bytes, how many replies it gets, and where they go.
type Asked = (Vec<u8>, usize, oneshot::Sender<(usize, usize)>);

/// One connection for all calls, and a task that writes and reads for them.
pub(crate) struct Multiplexed {
    sender: mpsc::UnboundedSender<Asked>,
}

impl Multiplexed {
    pub(crate) async fn mget(ports: Vec<u16>) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", ports[0])).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(serve(stream, receiver));
        Self { sender }
    }
}

impl Reader for Multiplexed {
    fn read<'a>(&'a self, keys: &'a [Bytes]) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(async move {
            let mut request = Vec::with_capacity(32 + keys.len() * 48);
            spell(&mut request, keys, true);
            let (answer, answered) = oneshot::channel();
            self.sender.send((request, keys.len(), answer))?;
            Ok(answered.await?)
        })
    }
}

async fn serve(mut stream: TcpStream, mut receiver: mpsc::UnboundedReceiver<Asked>) {
    let mut waiting: VecDeque<(usize, oneshot::Sender<(usize, usize)>)> = VecDeque::new();
    let mut requests = BytesMut::with_capacity(64 << 10);
    let mut replies = BytesMut::with_capacity(128 << 10);
    let mut seen = Seen::default();
    let (mut reading, mut writing) = stream.split();
    loop {
        tokio::select! {
            biased;
            asked = receiver.recv() => {
                let Some((request, n_values, answer)) = asked else { return };
                requests.extend_from_slice(&request);
                waiting.push_back((n_values, answer));
                while let Ok((request, n_values, answer)) = receiver.try_recv() {
                    requests.extend_from_slice(&request);
                    waiting.push_back((n_values, answer));
                }
                // What does not go at once goes with the rest.
                if writing.write_buf(&mut requests).await.is_err() { return }
            }
            read = reading.read_buf(&mut replies) => {
                if !matches!(read, Ok(1..)) { return }
                while let Some((n_values, _)) = waiting.front() {
                    let wanted = *n_values;
                    if seen.take_until(&mut replies, wanted).is_err() { return }
                    if seen.n_values < wanted { break }
                    let (_, answer) = waiting.pop_front().unwrap();
                    let _ = answer.send((seen.n_bytes, seen.n_values));
                    seen = Seen::default();
                }
                replies.reserve(64 << 10);
            }
            written = writing.write_buf(&mut requests), if !requests.is_empty() => {
                if written.is_err() { return }
            }
        }
    }
}

/// One connection to each node of a Cluster whose slots lie as at its start.
pub(crate) struct Routed(Vec<Arc<Exclusive>>);

impl Routed {
    pub(crate) async fn get(ports: Vec<u16>) -> Self {
        let nodes = ports.into_iter();
        Self(
            nodes
                .map(|port| Arc::new(Exclusive::new(port, false)))
                .collect(),
        )
    }
}

impl Reader for Routed {
    fn read<'a>(&'a self, keys: &'a [Bytes]) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(async move {
            let n_nodes = self.0.len();
            let mut of_node = vec![Vec::new(); n_nodes];
            for key in keys {
                let slot = usize::from(slot_of(key));
                let mut ends = (1..=n_nodes).map(|number| number * 16_384 / n_nodes);
                let node = ends.position(|end| slot < end).unwrap_or(0);
                of_node[node].push(key.clone());
            }
            let asked = self
                .0
                .iter()
                .zip(&of_node)
                .filter(|(_, keys)| !keys.is_empty());
            let answers = try_join_all(asked.map(|(node, keys)| node.call(keys))).await?;
            Ok(answers
                .into_iter()
                .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1)))
        })
    }
}

fn spell(request: &mut Vec<u8>, keys: &[Bytes], is_mget: bool) {
    if is_mget {
        number(request, b'*', keys.len() + 1);
        request.extend_from_slice(b"$4\r\nMGET\r\n");
    }
    for key in keys {
        if !is_mget {
            request.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
        }
        number(request, b'$', key.len());
        request.extend_from_slice(key);
        request.extend_from_slice(b"\r\n");
    }
}

fn number(request: &mut Vec<u8>, kind: u8, value: usize) {
    request.push(kind);
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    request.extend_from_slice(&digits[at..]);
    request.extend_from_slice(b"\r\n");
}

/// What has been seen of an answer.
#[derive(Default)]
struct Seen {
    n_bytes: usize,
    n_values: usize,
    mark: u8,
}

impl Seen {
    fn take(&mut self, reply: &mut BytesMut) -> Result<(), &'static str> {
        self.take_until(reply, usize::MAX)
    }

    /// Takes whole values off the front, up to so many in all.
    fn take_until(&mut self, reply: &mut BytesMut, n_values: usize) -> Result<(), &'static str> {
        let mut at = 0;
        while self.n_values < n_values {
            let rest = &reply[at..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                break;
            };
            let digits = rest.get(1..end - 1).ok_or("not a reply")?;
            let digits = std::str::from_utf8(digits).map_err(|_| "not a reply")?;
            let count: i64 = digits.parse().map_err(|_| "not a reply")?;
            match (rest[0], usize::try_from(count)) {
                (b'*', Ok(_)) => at += end + 1,
                (b'$', Ok(n_bytes)) => {
                    let Some(value) = rest.get(end + 1..end + 3 + n_bytes) else {
                        break;
                    };
                    self.mark ^= value[0];
                    self.n_bytes += n_bytes;
                    self.n_values += 1;
                    at += end + 3 + n_bytes;
                }
                (b'$', Err(_)) => {
                    self.n_values += 1;
                    at += end + 1;
                }
                _ => return Err("not a reply"),
            }
        }
        reply.advance(at);
        Ok(())
    }
}

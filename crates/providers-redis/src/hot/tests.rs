#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use rand::Rng;
use tokio::net::TcpListener;

use super::*;
use crate::config::Login;
use crate::resp::Hot;

fn dialling(timeout: Duration) -> Dialling {
    Dialling {
        login: Login::default(),
        database: 0,
        tls: None,
        connect_timeout: Duration::from_secs(5),
        timeout,
    }
}

async fn listening() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = "127.0.0.1".to_owned();
    (listener, Address { host, port })
}

/// A server that answers each line `ECHO` with its argument, in pieces that end anywhere.
async fn echo() -> Address {
    let (listener, address) = listening().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut answer) = (BytesMut::new(), Vec::new());
        while stream.read_buf(&mut read).await.unwrap() > 0 {
            let mut scan = Scan::of(1);
            while let Some(end) = scan.find_end(&read).unwrap() {
                let request = read.split_to(end).freeze();
                // The array and the command's name come first.
                let mut replies = Replies::new(request);
                replies.next().unwrap();
                replies.next().unwrap();
                let Hot::Bytes(said) = replies.next().unwrap() else {
                    panic!("not an argument");
                };
                answer.extend_from_slice(format!("${}\r\n", said.len()).as_bytes());
                answer.extend_from_slice(&said);
                answer.extend_from_slice(b"\r\n");
                scan = Scan::of(1);
            }
            while !answer.is_empty() {
                let n = rand::rng().random_range(1..=answer.len());
                let piece: Vec<u8> = answer.drain(..n).collect();
                stream.write_all(&piece).await.unwrap();
                if rand::rng().random_bool(0.2) {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    address
}

async fn said(connection: &HotConnection, text: &[u8]) -> Result<Bytes, Fault> {
    let mut request = Request::with_capacity(text.len());
    request.begin("ECHO", 1);
    request.arg(text);
    let mut replies = Replies::new(connection.ask(request).await?);
    match replies.next()? {
        Hot::Bytes(bytes) => Ok(bytes),
        _ => panic!("not a value"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_once_get_their_own_replies_whoever_is_given_up() {
    let address = echo().await;
    let dialling = dialling(Duration::from_secs(30));
    let connection = HotConnection::open(address, &dialling).await.unwrap();
    let tasks: Vec<_> = (0..32_u64)
        .map(|task| {
            let connection = connection.clone();
            tokio::spawn(async move {
                let mut n_answered = 0;
                for number in 0..300_u64 {
                    let n_bytes = rand::rng().random_range(0..3_000);
                    let mut text = format!("{task}-{number}-").into_bytes();
                    text.resize(text.len() + n_bytes, b'x');
                    let call = said(&connection, &text);
                    if rand::rng().random_bool(0.3) {
                        let pause = Duration::from_micros(rand::rng().random_range(0..300));
                        tokio::select! {
                            answer = call => assert_eq!(answer.unwrap(), text),
                            () = tokio::time::sleep(pause) => continue,
                        }
                    } else {
                        assert_eq!(call.await.unwrap(), text);
                    }
                    n_answered += 1;
                }
                n_answered
            })
        })
        .collect();
    let mut n_answered = 0;
    for task in tasks {
        n_answered += task.await.unwrap();
    }
    assert!(n_answered >= 32 * 150, "{n_answered}");
    assert!(!connection.is_broken());
    // More than the system takes at once, beside a small one.
    let great = vec![b'y'; 20 << 20];
    let (great_answer, small) = tokio::join!(said(&connection, &great), said(&connection, b"z"));
    assert!(great_answer.unwrap() == great && small.unwrap() == b"z"[..]);
}

#[tokio::test]
async fn a_call_that_reads_and_is_not_polled_holds_up_nobody() {
    let dialling = dialling(Duration::from_secs(60));
    let connection = HotConnection::open(echo().await, &dialling).await.unwrap();
    let mut first = pin!(said(&connection, b"first"));
    let polled_once = futures::poll!(first.as_mut());
    assert!(polled_once.is_pending());
    for text in [&b"second"[..], b"third"] {
        assert_eq!(said(&connection, text).await.unwrap(), text);
    }
    assert_eq!(first.await.unwrap(), b"first"[..]);
    assert!(!connection.is_broken());
}

/// Nobody looks after a connection that is not used, until it is.
#[tokio::test]
async fn after_a_while_without_calls_a_call_that_is_not_polled_holds_up_nobody() {
    let dialling = dialling(Duration::from_secs(60));
    let connection = HotConnection::open(echo().await, &dialling).await.unwrap();
    let watched = connection.shared.watched.clone();
    while !watched.is_asleep.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    {
        let mut first = pin!(said(&connection, b"first"));
        assert!(futures::poll!(first.as_mut()).is_pending());
        assert_eq!(said(&connection, b"second").await.unwrap(), b"second"[..]);
        assert_eq!(first.await.unwrap(), b"first"[..]);
    }
    drop(connection);
    // Its end reaches who looks after it, which lets go.
    while Arc::strong_count(&watched) > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// As many calls as are sent at once, and others that are gathered behind them.
#[tokio::test]
async fn gathered_calls_are_sent_in_one_piece_also_when_those_before_are_given_up() {
    let (listener, address) = listening().await;
    let dialling = dialling(Duration::from_secs(60));
    let connection = HotConnection::open(address, &dialling).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    for n_given_up in [0, 1, GATHERED_FROM] {
        let mut calls = Vec::new();
        for number in 0..GATHERED_FROM + 20 {
            let connection = connection.clone();
            let text = format!("{number:02}");
            let call = tokio::spawn(async move { said(&connection, text.as_bytes()).await });
            tokio::task::yield_now().await;
            calls.push(call);
        }
        let n_bytes = b"*2\r\n$4\r\nECHO\r\n$2\r\n00\r\n".len();
        let mut asked = vec![0; GATHERED_FROM * n_bytes];
        stream.read_exact(&mut asked).await.unwrap();
        for call in &calls[..n_given_up] {
            call.abort();
        }
        for number in 0..GATHERED_FROM {
            let reply = format!("$2\r\n{number:02}\r\n");
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
        let mut gathered = vec![0; 20 * n_bytes + 1];
        let n_read = stream.read(&mut gathered).await.unwrap();
        assert_eq!(n_read, 20 * n_bytes);
        for number in GATHERED_FROM..GATHERED_FROM + 20 {
            let reply = format!("$2\r\n{number:02}\r\n");
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
        for (number, call) in calls.into_iter().enumerate().skip(n_given_up) {
            let said = call.await.unwrap().unwrap();
            assert_eq!(said, format!("{number:02}"));
        }
    }
    assert!(!connection.is_broken());
}

#[tokio::test]
async fn a_call_that_reads_and_is_given_up_leaves_the_reading_to_another() {
    let (listener, address) = listening().await;
    let dialling = dialling(Duration::from_secs(30));
    let connection = HotConnection::open(address, &dialling).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let task = |text: &'static [u8]| {
        let connection = connection.clone();
        tokio::spawn(async move { said(&connection, text).await })
    };
    let first = task(b"first");
    tokio::task::yield_now().await;
    let second = task(b"second");
    tokio::task::yield_now().await;
    // Half of the first reply, which its caller does not wait for any longer.
    stream.write_all(b"$5\r\nfi").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    stream.write_all(b"rst\r\n$6\r\nsecond\r\n").await.unwrap();
    assert_eq!(second.await.unwrap().unwrap(), b"second"[..]);
    // The end of the connection ends the calls on it.
    let third = task(b"third");
    tokio::task::yield_now().await;
    drop(stream);
    assert!(third.await.unwrap().is_err() && connection.is_broken());
    assert!(said(&connection, b"late").await.is_err());
}

#[tokio::test]
async fn silence_breaks_a_connection_after_its_timeout() {
    let (listener, address) = listening().await;
    let dialling = dialling(Duration::from_millis(50));
    let connection = HotConnection::open(address, &dialling).await.unwrap();
    let _held = listener.accept().await.unwrap();
    let fault = said(&connection, b"x").await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Silent);
    assert!(connection.is_broken());
}

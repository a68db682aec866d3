//! What lies under our keys that we did not put there, and rows and requests that are large.

use provender_core::provider::OnlineStore;

use crate::servers::{Cluster, Server, Wire};
use crate::support::{
    answers, cx, keys, layout, numbered, on, on_cluster, read, reader, row, rows, write,
};

/// The keys that hold rows of some entities, in their order.
fn row_keys(wire: &mut Wire, entities: &[&str]) -> Vec<Vec<u8>> {
    let all = wire.keys();
    let of = |entity: &&str| {
        let holds = |key: &&Vec<u8>| {
            key.windows(entity.len())
                .any(|part| part == entity.as_bytes())
        };
        all.iter().find(holds).expect("its row is held").clone()
    };
    entities.iter().map(of).collect()
}

async fn foreign_and_damaged(store: provender_providers_redis::RedisOnlineStore, nodes: &[Server]) {
    let layout = layout("v");
    let entities = [
        "sound-1", "list-of", "flipped", "cut-off", "strange", "emptied", "sound-2",
    ];
    let wanted: Vec<String> = entities.iter().map(|name| (*name).to_owned()).collect();
    write(&store, &layout, &rows(&wanted, 7)).await;
    for node in nodes {
        let mut wire = node.wire();
        for key in wire.keys() {
            let is = |entity: &str| {
                key.windows(entity.len())
                    .any(|part| part == entity.as_bytes())
            };
            let held = || match node.wire().ask(&[b"GET", &key]) {
                crate::servers::Reply::Bytes(Some(bytes)) => bytes,
                other => panic!("{other:?}"),
            };
            if is("list-of") {
                wire.ask(&[b"DEL", &key]);
                wire.ask(&[b"RPUSH", &key, b"1"]);
            } else if is("flipped") {
                let mut bytes = held();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                wire.ask(&[b"SET", &key, &bytes]);
            } else if is("cut-off") {
                let bytes = held();
                wire.ask(&[b"SET", &key, &bytes[..bytes.len() / 2]]);
            } else if is("strange") {
                wire.ask(&[b"SET", &key, b"{\"value\": 7}"]);
            } else if is("emptied") {
                wire.ask(&[b"SET", &key, b""]);
            }
        }
    }
    let reader = reader(&store, &layout).await;
    let found = reader.read(&cx(), &keys(&layout, &wanted)).await.unwrap();
    let unreadable: Vec<usize> = found.views[0]
        .unreadable
        .iter()
        .map(|(row, _)| *row)
        .collect();
    assert_eq!(
        unreadable,
        [1, 2, 3, 4, 5],
        "{:?}",
        found.views[0].unreadable
    );
    for (_, why) in &found.views[0].unreadable {
        assert!(!why.is_empty());
    }
    let answered = answers(&found);
    for (number, answer) in answered.iter().enumerate() {
        assert_eq!(
            answer.is_some(),
            number == 0 || number == 6,
            "{}",
            entities[number]
        );
    }
    // Whatever lay there, a newer row takes its place, and an older one as well, since what cannot be read
    // has no time.
    write(&store, &layout, &rows(&wanted, 8)).await;
    assert_eq!(read(&store, &layout, &wanted).await, [Some(8); 7]);
    store
        .drop_view(&cx(), &layout.view_version())
        .await
        .unwrap();
    assert_eq!(read(&store, &layout, &wanted).await, [None; 7]);
}

#[tokio::test]
async fn foreign_and_damaged_values_are_errors_of_their_rows_alone() {
    let server = Server::start();
    foreign_and_damaged(on(&server), std::slice::from_ref(&server)).await;
}

#[tokio::test]
async fn foreign_and_damaged_values_are_errors_of_their_rows_alone_on_a_cluster() {
    let cluster = Cluster::start(3, false);
    foreign_and_damaged(on_cluster(&cluster), &cluster.nodes).await;
}

#[tokio::test]
async fn ten_thousand_keys_in_one_request_are_answered_in_order() {
    let server = Server::start();
    let (store, layout) = (on(&server), layout("v"));
    let all = numbered(10_000);
    let each = all.iter().enumerate();
    let each: Vec<_> = each
        .filter(|(number, _)| number % 3 != 0)
        .map(|(number, key)| row(key, number as i64))
        .collect();
    write(&store, &layout, &each).await;
    let mut wanted = all.clone();
    wanted.reverse();
    wanted.extend(all.iter().take(100).cloned());
    let found = read(&store, &layout, &wanted).await;
    for (key, found) in wanted.iter().zip(found) {
        let number: i64 = key[4..].parse().unwrap();
        assert_eq!(found, (number % 3 != 0).then_some(number), "{key}");
    }
}

#[tokio::test]
async fn ten_thousand_keys_in_one_request_are_answered_by_a_cluster() {
    let cluster = Cluster::start(3, false);
    let (store, layout) = (on_cluster(&cluster), layout("v"));
    let all = numbered(10_000);
    write(&store, &layout, &rows(&all, 3)).await;
    let found = read(&store, &layout, &all).await;
    assert!(found.iter().all(|value| *value == Some(3)));
}

#[tokio::test]
async fn a_value_of_five_megabytes_comes_back_and_is_replaced_by_newer_ones_alone() {
    let server = Server::start();
    let (store, layout) = (on(&server), layout("v"));
    let text = |fill: &str| fill.repeat(5_000_000 / fill.len());
    let held = |value: i64, fill: &str| ("a".to_owned(), value, text(fill));
    let reader = reader(&store, &layout).await;
    let wanted = keys(&layout, &["a".to_owned(), "b".to_owned()]);
    let now = async || answers(&reader.read(&cx(), &wanted).await.unwrap());
    write(&store, &layout, &[held(5, "x"), row("b", 1)]).await;
    assert_eq!(now().await[0], Some((5, 5, text("x"))));
    write(&store, &layout, &[held(4, "older ")]).await;
    assert_eq!(now().await[0], Some((5, 5, text("x"))));
    write(&store, &layout, &[held(6, "newer ")]).await;
    assert_eq!(now().await[0], Some((6, 6, text("newer "))));
    write(&store, &layout, &[row("a", 7)]).await;
    let found = now().await;
    assert_eq!(found[0].as_ref().map(|found| found.1), Some(7));
    assert_eq!(found[1].as_ref().map(|found| found.1), Some(1));
    // Nothing of the great ones is left.
    let mut wire = server.wire();
    let n_keys = wire.keys().len();
    store
        .drop_view(&cx(), &layout.view_version())
        .await
        .unwrap();
    let left = wire.keys();
    assert!(left.is_empty(), "{n_keys} keys, then {left:?}");
}

/// One Redis, two teams.
#[tokio::test]
async fn prefixes_keep_teams_apart() {
    let server = Server::start();
    let layout = layout("v");
    let [one, other] = ["a:", "a:b:"].map(|prefix| {
        crate::support::open(serde_json::json!({"url": server.url(), "prefix": prefix}))
    });
    let key = ["k".to_owned()];
    write(&one, &layout, &rows(&key, 1)).await;
    assert_eq!(read(&other, &layout, &key).await, [None]);
    write(&other, &layout, &rows(&key, 2)).await;
    assert_eq!(read(&one, &layout, &key).await, [Some(1)]);
    one.drop_view(&cx(), &layout.view_version()).await.unwrap();
    assert_eq!(read(&other, &layout, &key).await, [Some(2)]);
    assert_eq!(one.views(&cx()).await.unwrap(), []);
    assert_eq!(other.views(&cx()).await.unwrap(), [layout.view_version()]);
}

/// A view that is read all the time must not keep another one's expired rows.
#[tokio::test]
async fn rows_expire_by_their_own_views_ttl() {
    const HOUR_US: i64 = 3_600_000_000;
    let server = Server::start();
    let store = on(&server);
    let (mut brief, lasting) = (layout("brief"), layout("lasting"));
    brief.ttl_us = Some(HOUR_US);
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let now_us = i64::try_from(now.as_micros()).unwrap();
    let key = ["k".to_owned()];
    write(&store, &brief, &rows(&key, now_us)).await;
    write(&store, &lasting, &rows(&key, now_us)).await;
    let mut wire = server.wire();
    let lives: Vec<i64> = row_keys_of_all(&mut wire)
        .iter()
        .map(|key| wire.ask(&[b"PTTL", key]).number())
        .collect();
    let expiring: Vec<&i64> = lives.iter().filter(|ms| **ms >= 0).collect();
    assert_eq!((lives.len(), expiring.len()), (2, 1), "{lives:?}");
    let hour_ms = HOUR_US / 1_000;
    assert!((hour_ms..hour_ms * 2).contains(expiring[0]), "{lives:?}");
    // A newer row lives longer.
    write(&store, &brief, &rows(&key, now_us + HOUR_US)).await;
    let lives: Vec<i64> = row_keys_of_all(&mut wire)
        .iter()
        .map(|key| wire.ask(&[b"PTTL", key]).number())
        .collect();
    assert!(
        lives
            .iter()
            .any(|ms| (2 * hour_ms..3 * hour_ms).contains(ms)),
        "{lives:?}"
    );
    // One that is past its time already is not held.
    write(
        &store,
        &brief,
        &rows(&["old".to_owned()], now_us - 100 * HOUR_US),
    )
    .await;
    assert_eq!(read(&store, &brief, &["old".to_owned()]).await, [None]);
}

fn row_keys_of_all(wire: &mut Wire) -> Vec<Vec<u8>> {
    let is_row = |key: &Vec<u8>| key.first() == Some(&b'{');
    wire.keys().into_iter().filter(is_row).collect()
}

/// The documented key, byte for byte, so that other programs can rely on it.
#[tokio::test]
async fn rows_lie_under_the_documented_keys() {
    let server = Server::start();
    let (store, layout) = (on(&server), layout("v"));
    write(&store, &layout, &[row("JFK", 1)]).await;
    let mut wire = server.wire();
    let key = row_keys(&mut wire, &["JFK"]).remove(0);
    assert_eq!(key[..8], *b"{pv:JFK}", "{}", String::from_utf8_lossy(&key));
    assert_eq!(key.len(), 18, "{}", String::from_utf8_lossy(&key));
}

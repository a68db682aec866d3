//! The scripts decide between any two rows as the codec does.

use provender_codec::order;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::fleet;
use super::servers::Server;
use crate::client::{Command, Commands};
use crate::contest::ALL_WON;
use crate::lane::Purpose;
use crate::route::sound;
use crate::script::{BATCH, Call, LARGE, Script};

const PAIRS_A_ROUND: usize = 50;

/// Instants that differ in every half of their bits, around each other's edges.
fn instant(rng: &mut StdRng) -> i64 {
    let bases = [
        0,
        i64::MIN,
        i64::MAX,
        1 << 32,
        -(1 << 32),
        1 << 53,
        1_357_020_000_000_000,
        i64::from(u32::MAX),
        i64::from(i32::MIN),
    ];
    let base: i64 = bases[rng.random_range(0..bases.len())];
    base.wrapping_add(rng.random_range(-1..=1))
}

fn ties(rng: &mut StdRng) -> Vec<u8> {
    // Bytes whose order by locale or as signed numbers would be another one.
    let letters = [0, 1, b'A', b'a', b'b', 127, 128, 200, 255];
    let mut ties: Vec<u8> = match rng.random_range(0..4) {
        0 => vec![b'x'; 300],
        1 => vec![b'x'; 65_530],
        _ => Vec::new(),
    };
    for _ in 0..rng.random_range(0..4) {
        ties.push(letters[rng.random_range(0..letters.len())]);
    }
    ties
}

/// Bytes that have a row's header, and anything for a payload.
fn row(rng: &mut StdRng) -> Vec<u8> {
    let created = rng.random_bool(0.6).then(|| instant(rng));
    let ties = rng.random_bool(0.6).then(|| ties(rng));
    let mut flags = 0;
    flags |= u8::from(created.is_some());
    flags |= u8::from(rng.random_bool(0.2)) << 1;
    flags |= u8::from(ties.is_some()) << 2;
    let mut row = vec![1, flags];
    row.extend(rng.random::<[u8; 8]>());
    row.extend(instant(rng).to_le_bytes());
    if let Some(created) = created {
        row.extend(created.to_le_bytes());
    }
    if let Some(ties) = ties {
        row.extend((ties.len() as u16).to_le_bytes());
        row.extend(ties);
    }
    let n_payload = rng.random_range(0..20);
    row.extend((0..n_payload).map(|_| rng.random::<u8>()));
    row
}

/// A row that is like another up to some part of its order.
fn like(rng: &mut StdRng, other: &[u8]) -> Vec<u8> {
    let mut row = other.to_vec();
    if rng.random_bool(0.5) {
        let at = rng.random_range(10..row.len());
        row[at] = row[at].wrapping_add(rng.random_range(1..=255));
    }
    match order(&row) {
        Ok(_) => row,
        Err(_) => other.to_vec(),
    }
}

fn no_row(rng: &mut StdRng) -> Vec<u8> {
    let mut row = row(rng);
    match rng.random_range(0..4) {
        0 => row.truncate(rng.random_range(1..18)),
        1 => row[0] = 2,
        2 => row[1] |= 8,
        _ => row = b"something else".to_vec(),
    }
    row
}

async fn judge(script: &'static Script, seed: u64, server: &Server) {
    let fleet = fleet(server);
    let mut rng = StdRng::seed_from_u64(seed);
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = (0..PAIRS_A_ROUND)
        .map(|_| {
            let held = row(&mut rng);
            match rng.random_range(0..8) {
                0 => (row(&mut rng), no_row(&mut rng)),
                1 | 2 => (row(&mut rng), held),
                _ => (like(&mut rng, &held), held),
            }
        })
        .collect();
    let key = |index: usize| format!("{{t}}{index}").into_bytes();
    let aside = |index: usize| format!("{{t}}{index}~").into_bytes();
    let set = |key: Vec<u8>, value: &[u8]| Command::of("SET", &[&key, value]);
    let mut commands = Commands::default();
    for (index, (new, held)) in pairs.iter().enumerate() {
        commands.push(set(key(index), held));
        commands.push(set(aside(index), new));
    }
    let set = fleet.send(Purpose::Write, &commands, &[]).await.unwrap();
    set.iter().try_for_each(sound).unwrap();
    let calls: Vec<Call<'_>> = if std::ptr::eq(script, &*BATCH) {
        let mode = if seed.is_multiple_of(2) {
            "all"
        } else {
            "head"
        };
        let mut args = vec![mode.as_bytes().into()];
        args.extend(pairs.iter().map(|(new, _)| new.into()));
        let keys = (0..pairs.len()).map(|index| key(index).into()).collect();
        vec![Call {
            script,
            slot: 0,
            keys,
            args,
        }]
    } else {
        let calls = pairs.iter().enumerate().map(|(index, (new, _))| Call {
            script,
            slot: 0,
            keys: vec![key(index).into(), aside(index).into()],
            args: vec![new.into(), Vec::new().into()],
        });
        calls.collect()
    };
    let replies = fleet.run(&calls).await.unwrap();
    let mut verdicts = Vec::new();
    for reply in &replies {
        sound(reply).unwrap();
        match reply.bytes().unwrap() {
            ALL_WON => verdicts.resize(pairs.len(), b'w'),
            each => verdicts.extend_from_slice(each),
        }
    }
    let gets: Commands = (0..pairs.len())
        .map(|index| Command::of("GET", &[&key(index)]))
        .collect();
    let held_after = fleet.send(Purpose::Read, &gets, &[]).await.unwrap();
    for (index, (new, held)) in pairs.iter().enumerate() {
        let wins = order(held).map_or(true, |held| order(new).unwrap() >= held);
        let verdict = char::from(verdicts[index]);
        assert_eq!(
            verdict,
            if wins { 'w' } else { 'l' },
            "seed {seed}: {new:?} against {held:?}"
        );
        let expected = if wins { new } else { held };
        assert_eq!(held_after[index].bytes(), Some(expected.as_slice()));
    }
}

#[tokio::test]
async fn scripts_order_rows_as_the_codec_does() {
    let server = Server::start();
    for seed in 0..200 {
        judge(&BATCH, seed, &server).await;
    }
    for seed in 0..40 {
        judge(&LARGE, seed, &server).await;
    }
}

#[tokio::test]
async fn scripts_that_a_server_forgot_are_told_again() {
    let server = Server::start();
    judge(&BATCH, 1, &server).await;
    server.wire().run("SCRIPT FLUSH");
    judge(&BATCH, 2, &server).await;
}

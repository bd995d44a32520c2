//! The auditor is the mirror's guest.

use super::*;
use crate::entry::{Database, StreamRef};

fn board(oldest_unmirrored: Option<Duration>) -> Arc<Board> {
    let board = Board::new("m", "a", [("r", "t")]);
    let stream = StreamRef::new(Database(0), "s");
    board.own_stream(&stream, "r", "t", Shard(0));
    let age = oldest_unmirrored.map(|age| i64::try_from(age.as_millis()).unwrap());
    board.stream(&stream, |cell| {
        cell.oldest_unmirrored_ms = age.map(|age| now_ms() - age);
    });
    Arc::new(board)
}

#[test]
fn it_rests_twice_as_long_as_it_works_while_the_mirror_is_behind() {
    let settings = config::Parity {
        yield_lag: Duration::from_secs(60),
        ..config::Parity::default()
    };
    let worked = Duration::from_millis(700);
    let rest = |board: &Arc<Board>| pace(board, &settings).rest_after(worked);
    let behind = board(Some(Duration::from_secs(3_600)));
    assert_eq!(rest(&behind), worked * 2);
    assert_eq!(rest(&board(Some(Duration::ZERO))), Duration::ZERO);
    assert_eq!(rest(&board(None)), Duration::ZERO);
    // It goes by the mirror as it is after each stretch, not as it was when the round began.
    let pace = pace(&behind, &settings);
    assert_eq!(pace.rest_after(worked), worked * 2);
    let stream = StreamRef::new(Database(0), "s");
    behind.stream(&stream, |cell| cell.oldest_unmirrored_ms = None);
    assert_eq!(pace.rest_after(worked), Duration::ZERO);
}

//! Channels, records and their enemies, over an open line.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod pair;

use duologue::{
    ChannelError, ChannelId, CloseCode, ConnectionError, Delivery, Kind, Priority, Received, ResetCode,
    limits::{
        CHANNEL_WINDOW, CHANNELS_MAX, MESSAGE_LEN_MAX, QUEUED_MESSAGE_COST, REKEY_INTERVAL_RECORDS, SEND_QUEUE_LEN_MAX,
    },
};
use pair::{Bytes, Pair};

/// An open line with one channel from the client.
fn with_channel() -> (Pair, ChannelId) {
    let mut pair = Pair::new(1).open();
    let id = pair.client_session().open("echo", Kind::MESSAGES).expect("a good label");
    pair.run();
    assert_eq!(pair.server_seen.opened, [id]);
    (pair, id)
}

fn low_byte(index: usize) -> u8 {
    u8::try_from(index % 256).expect("below 256")
}

fn seed(id: ChannelId) -> u8 {
    id.0.to_be_bytes()[3]
}

fn message(received: Result<Received, ChannelError>) -> Vec<u8> {
    match received {
        Ok(Received::Message(message)) => message,
        other => panic!("no message but {other:?}"),
    }
}

#[test]
fn messages_arrive_whole_in_order_both_ways() {
    let (mut pair, id) = with_channel();
    assert_eq!(pair.server.channel(id).label(), "echo");
    for text in ["one", "", "three"] {
        pair.client.channel(id).send(text.into()).expect("there is room");
    }
    pair.run();
    for text in ["one", "", "three"] {
        assert_eq!(message(pair.server.channel(id).recv()), text.as_bytes());
        pair.server.channel(id).send(text.into()).expect("there is room");
    }
    assert_eq!(pair.server.channel(id).recv(), Ok(Received::Pending));
    pair.run();
    for text in ["one", "", "three"] {
        assert_eq!(message(pair.client.channel(id).recv()), text.as_bytes());
    }
}

#[test]
fn a_hundred_sends_leave_in_one_record() {
    let (mut pair, id) = with_channel();
    for _ in 0..100 {
        pair.client.channel(id).send(vec![7; 64]).expect("there is room");
    }
    assert!(pair.client_sends().is_some());
    assert_eq!(pair.client_sends(), None);
}

#[test]
fn a_send_is_taken_when_the_application_takes_it_and_not_before() {
    let (mut pair, id) = with_channel();
    let first = pair.client.channel(id).send(b"1".to_vec()).expect("there is room");
    let second = pair.client.channel(id).send(b"2".to_vec()).expect("there is room");
    pair.run();
    assert_eq!(pair.client.channel(id).delivery(first), Delivery::Pending, "arrived, but nobody has read it");
    message(pair.server.channel(id).recv());
    pair.run();
    assert_eq!(pair.client.channel(id).delivery(first), Delivery::Taken);
    assert_eq!(pair.client.channel(id).delivery(second), Delivery::Pending);
}

#[test]
fn what_is_handed_over_ahead_does_not_keep_the_window_from_growing() {
    let (mut pair, id) = with_channel();
    for _ in 0..20 {
        pair.client.channel(id).send(vec![7; 50_000]).expect("there is room");
    }
    pair.run();
    let hand_over = |pair: &mut Pair| {
        core::iter::from_fn(|| matches!(pair.server.channel(id).recv_ahead(), Ok(Received::Message(_))).then_some(()))
            .count()
    };
    assert_eq!(hand_over(&mut pair), 5, "a window of 256 KiB");
    for _ in 0..3 {
        pair.server.channel(id).take();
    }
    pair.run();
    assert_eq!(3 * 50_000 + 2 * CHANNEL_WINDOW, 674_288);
    assert_eq!(5 + hand_over(&mut pair), 13, "twice the window beyond the three that were taken");
}

#[test]
fn what_is_handed_over_ahead_is_taken_when_the_application_says_so() {
    let (mut pair, id) = with_channel();
    let large = vec![3; usize::try_from(CHANNEL_WINDOW).expect("it fits") * 2];
    for message in [b"1".to_vec(), b"2".to_vec(), large.clone()] {
        pair.client.channel(id).send(message).expect("there is room");
    }
    pair.run();
    assert_eq!(message(pair.server.channel(id).recv_ahead()), b"1");
    assert_eq!(message(pair.server.channel(id).recv_ahead()), b"2");
    pair.run();
    assert_eq!(pair.client.channel(id).taken(), 0, "handed over, but nobody has read it");
    assert_eq!(
        pair.server.channel(id).recv_ahead(),
        Ok(Received::Pending),
        "a large message waits for those before it"
    );
    pair.server.channel(id).take();
    pair.run();
    assert_eq!(pair.client.channel(id).taken(), 1);
    pair.server.channel(id).take();
    pair.server.channel(id).take();
    pair.run();
    assert_eq!(pair.client.channel(id).taken(), 2, "nothing is taken that was not handed over");
    assert_eq!(message(pair.server.channel(id).recv_ahead()), large);
    pair.server.channel(id).take();
    pair.client.channel(id).finish();
    pair.run();
    assert_eq!(pair.client.channel(id).taken(), 3);
    assert_eq!(pair.server.channel(id).recv_ahead(), Ok(Received::End));
}

#[test]
fn a_message_of_16_mib_passes_a_window_of_256_kib() {
    let (mut pair, id) = with_channel();
    let mut bytes = Bytes::new(5);
    let big: Vec<u8> = (0..MESSAGE_LEN_MAX).map(|_| bytes.byte()).collect();
    pair.client.channel(id).send(big.clone()).expect("there is room");
    pair.run();
    assert!(message(pair.server.channel(id).recv()) == big);

    let too_long = pair.client.channel(id).send(vec![0; MESSAGE_LEN_MAX + 1]).expect_err("one byte too many").0;
    assert_eq!(too_long, ChannelError::MessageTooLong { len: MESSAGE_LEN_MAX + 1, max: MESSAGE_LEN_MAX });
}

#[test]
fn three_large_messages_at_once_all_arrive() {
    // One more than may be assembled at the same time: the third waits its turn, and gets it.
    let mut pair = Pair::new(1).open();
    let ids: Vec<_> =
        (0..3).map(|_| pair.client_session().open("echo", Kind::MESSAGES).expect("a good label")).collect();
    for id in &ids {
        pair.client.channel(*id).send(vec![seed(*id); 2_000_000]).expect("there is room");
    }
    let mut arrived = 0;
    while arrived < 3 {
        let before = arrived;
        pair.run();
        for id in &ids {
            if let Ok(Received::Message(message)) = pair.server.channel(*id).recv() {
                assert!(message == vec![seed(*id); 2_000_000]);
                arrived += 1;
            }
        }
        assert!(arrived > before, "no progress after {arrived} messages");
    }
}

#[test]
fn a_large_message_behind_an_unread_one_arrives_once_that_is_read() {
    // It once hung for good: the large message asked for its assembly slot only while data arrived, and none did any more.
    for sizes in
        [vec![100, 1_000_000], vec![1_000_000, 1_000_000], vec![200_000; 4], vec![130_000; 9], vec![0, 262_000]]
    {
        let (mut pair, id) = with_channel();
        for (index, size) in sizes.iter().enumerate() {
            pair.client.channel(id).send(vec![low_byte(index); *size]).expect("there is room");
        }
        pair.run();
        for (index, size) in sizes.iter().enumerate() {
            let received = message(pair.server.channel(id).recv());
            assert!(received == vec![low_byte(index); *size], "message {index} of {sizes:?}");
            pair.run();
        }
    }
}

#[test]
fn a_reader_that_does_not_read_stops_its_own_channel_only() {
    let mut pair = Pair::new(1).open();
    let stuck = pair.client_session().open("stuck", Kind::MESSAGES).expect("a good label");
    let free = pair.client_session().open("free", Kind::MESSAGES).expect("a good label");
    for _ in 0..1_000 {
        pair.client.channel(stuck).send(vec![1; 1_000]).expect("16 MiB may wait");
    }
    let mut sealed = 0;
    while let Some(record) = pair.client_sends() {
        sealed += record.len() as u64;
        pair.server_takes(&record).expect("within the credit");
    }
    assert!(sealed < CHANNEL_WINDOW + CHANNEL_WINDOW / 8, "{sealed} bytes left for a reader that reads nothing");
    pair.client.channel(free).send(b"hello".to_vec()).expect("there is room");
    pair.run();
    assert_eq!(message(pair.server.channel(free).recv()), b"hello");
    for _ in 0..1_000 {
        message(pair.server.channel(stuck).recv());
        pair.run();
    }
}

#[test]
fn a_peer_that_grants_no_credit_on_many_channels_makes_its_own_session_wait() {
    let mut pair = Pair::new(1).open();
    let ids: Vec<_> = (0..10).map(|_| pair.client_session().open("x", Kind::MESSAGES).expect("a good label")).collect();
    let sends = |pair: &mut Pair, id| pair.client.channel(id).send(vec![1; MESSAGE_LEN_MAX]).map_err(|error| error.0);
    let (full, waiting) = ids.split_at(4);
    for id in full {
        sends(&mut pair, *id).expect("four largest messages fit");
    }
    for id in waiting {
        assert_eq!(sends(&mut pair, *id), Err(ChannelError::Blocked));
    }
    while pair.client.poll_event().is_some() {}
    // One of them is given up: those who wait are told, and one fits again.
    pair.client.channel(full[0]).reset(ResetCode::Cancelled);
    let mut told = Vec::new();
    while let Some(event) = pair.client.poll_event() {
        told.extend(if let duologue::Event::ChannelChanged(id) = event { Some(id) } else { None });
    }
    assert!(waiting.iter().all(|id| told.contains(id)), "{told:?}");
    assert!(sends(&mut pair, waiting[0]).is_ok());
    assert_eq!(sends(&mut pair, waiting[1]), Err(ChannelError::Blocked));
}

#[test]
fn empty_messages_are_bounded_too() {
    let (mut pair, id) = with_channel();
    for _ in 0..100_000 {
        pair.client.channel(id).send(Vec::new()).expect("empty messages fill no queue");
    }
    pair.run();
    let mut arrived = 0;
    while let Ok(Received::Message(_)) = pair.server.channel(id).recv() {
        arrived += 1;
    }
    assert_eq!(arrived, CHANNEL_WINDOW / 32, "what the window holds without anybody reading");
}

#[test]
fn a_large_upload_does_not_delay_a_small_message() {
    let mut pair = Pair::new(1).open();
    let upload = pair.client_session().open("upload", Kind::MESSAGES).expect("a good label");
    let chat = pair.client_session().open("chat", Kind::MESSAGES).expect("a good label");
    pair.client.channel(upload).send(vec![1; 200_000]).expect("there is room");
    pair.client.channel(chat).send(b"hi".to_vec()).expect("there is room");
    let first = pair.client_sends().expect("a record");
    pair.server_takes(&first).expect("good");
    assert_eq!(message(pair.server.channel(chat).recv()), b"hi", "it was in the first record");
}

#[test]
fn what_comes_first_does_not_wait_behind_a_flood_that_nobody_has_acknowledged() {
    let mut pair = Pair::new(1).open();
    let of = |priority| Kind { priority, ..Kind::MESSAGES };
    for _ in 0..16 {
        let flood = pair.client_session().open("flood", of(Priority::Normal)).expect("a good label");
        pair.client.channel(flood).send(vec![1; 200_000]).expect("there is room");
    }
    let keys = pair.client_session().open("keys", of(Priority::First)).expect("a good label");
    let late = pair.client_session().open("late", of(Priority::Normal)).expect("a good label");
    let mut records = Vec::new();
    while let Some(record) = pair.client_sends() {
        records.push(record);
    }
    assert!(records.len() < 16 * 200_000 / 65_535, "the flood waits for the other end");
    pair.client.channel(late).send(b"late".to_vec()).expect("there is room");
    assert_eq!(pair.client_sends(), None);
    pair.client.channel(keys).send(b"^C".to_vec()).expect("there is room");
    let record = pair.client_sends().expect("it leaves at once");
    assert!(record.len() < 200, "and alone: {} bytes", record.len());
    for record in records.into_iter().chain([record]) {
        pair.server_takes(&record).expect("good");
    }
    assert_eq!(message(pair.server.channel(keys).recv()), b"^C");
    // Nor does it wait for the rest of a record: among all of them it is first.
    pair.client.channel(keys).send(b"x".to_vec()).expect("there is room");
    pair.run();
    assert_eq!(message(pair.server.channel(keys).recv()), b"x");
}

#[test]
fn finishing_lets_the_answer_come_and_ends_the_channel() {
    let (mut pair, id) = with_channel();
    pair.client.channel(id).send(b"ask".to_vec()).expect("there is room");
    pair.client.channel(id).finish();
    assert_eq!(pair.client.channel(id).send(b"more".to_vec()).map_err(|error| error.0), Err(ChannelError::Finished));
    pair.run();
    assert_eq!(message(pair.server.channel(id).recv()), b"ask");
    assert_eq!(pair.server.channel(id).recv(), Ok(Received::End));
    pair.server.channel(id).send(b"answer".to_vec()).expect("there is room");
    pair.server.channel(id).finish();
    pair.server.channel(id).release();
    pair.run();
    assert_eq!(message(pair.client.channel(id).recv()), b"answer");
    assert_eq!(pair.client.channel(id).recv(), Ok(Received::End));
    assert_eq!(pair.client.channel(id).delivery(1), Delivery::Taken);
}

#[test]
fn a_reset_reaches_the_other_end_and_harms_no_other_channel() {
    let (mut pair, id) = with_channel();
    let other = pair.client_session().open("other", Kind::MESSAGES).expect("a good label");
    pair.client.channel(id).send(vec![1; 1_000_000]).expect("there is room");
    pair.client.channel(other).send(b"still here".to_vec()).expect("there is room");
    let record = pair.client_sends().expect("a record");
    pair.server_takes(&record).expect("good");
    pair.client.channel(id).reset(ResetCode::Deadline);
    pair.run();
    assert_eq!(pair.server.channel(id).recv(), Err(ChannelError::Reset(ResetCode::Deadline)));
    assert_eq!(pair.client.channel(id).delivery(1), Delivery::Unknown, "part of it had left");
    assert_eq!(message(pair.server.channel(other).recv()), b"still here");
    assert!(pair.client.is_open() && pair.server.is_open());
}

#[test]
fn a_service_that_returns_early_settles_what_was_sent_to_it() {
    let (mut pair, id) = with_channel();
    let ordinal = pair.client.channel(id).send(b"unread".to_vec()).expect("there is room");
    pair.run();
    pair.server.channel(id).finish();
    pair.server.channel(id).release();
    pair.run();
    assert_eq!(pair.client.channel(id).delivery(ordinal), Delivery::Unknown);
    assert_eq!(pair.client.channel(id).recv(), Ok(Received::End), "it had finished before it went");
}

#[test]
fn channels_beyond_256_wait_for_a_free_place() {
    let mut pair = Pair::new(1).open();
    let ids: Vec<_> = (0..CHANNELS_MAX + 10)
        .map(|_| pair.client_session().open("x", Kind::MESSAGES).expect("a good label"))
        .collect();
    pair.run();
    assert_eq!(pair.server_seen.opened.len(), CHANNELS_MAX);
    for id in ids.iter().take(10) {
        pair.client.channel(*id).reset(ResetCode::Cancelled);
    }
    pair.run();
    assert_eq!(pair.server_seen.opened.len(), CHANNELS_MAX + 10);
    assert!(pair.server.is_open());
}

#[test]
fn the_server_opens_channels_too() {
    let mut pair = Pair::new(1).open();
    let id = pair.server_session().open("news", Kind::MESSAGES).expect("a good label");
    pair.server.channel(id).send(b"hello".to_vec()).expect("there is room");
    pair.run();
    assert_eq!(pair.client_seen.opened, [id]);
    assert_eq!(pair.client.channel(id).label(), "news");
    assert_eq!(message(pair.client.channel(id).recv()), b"hello");
}

#[test]
fn what_is_sent_before_the_line_is_open_waits_in_order() {
    let mut pair = Pair::new(1);
    let id = pair.client_session().open("echo", Kind::MESSAGES).expect("a good label");
    for index in 0..50_u8 {
        pair.client.channel(id).send(vec![index]).expect("there is room");
    }
    let mut pair = pair.open();
    for index in 0..50_u8 {
        assert_eq!(message(pair.server.channel(id).recv()), [index]);
    }
}

#[test]
fn a_close_carries_code_reason_and_count() {
    let (mut pair, id) = with_channel();
    pair.client.channel(id).send(b"1".to_vec()).expect("there is room");
    pair.run();
    pair.server.close(pair.now, CloseCode::GoingAway, "back in a minute");
    pair.run();
    let Some(ConnectionError::PeerClosed(close)) = pair.client_seen.closed.clone() else {
        panic!("{:?}", pair.client_seen)
    };
    assert_eq!((close.code, close.reason.as_str(), close.received), (CloseCode::GoingAway, "back in a minute", 2));
    assert_eq!(pair.server_seen.closed, Some(ConnectionError::LocallyClosed(CloseCode::GoingAway)));
    assert_eq!(pair.client.channel(id).delivery(1), Delivery::Unknown);
    assert_eq!(pair.client_session().open("more", Kind::MESSAGES), Err(ChannelError::Closed));
}

#[test]
fn what_never_left_is_reported_as_not_sent() {
    let (mut pair, id) = with_channel();
    let ordinal = pair.client.channel(id).send(b"late".to_vec()).expect("there is room");
    pair.client.handle_lost(pair.now);
    pair.answer();
    assert_eq!(pair.client_seen.closed, Some(ConnectionError::Lost));
    assert_eq!(pair.client.channel(id).delivery(ordinal), Delivery::NotSent);
}

/// Two records of the client, not yet delivered.
fn two_records() -> (Pair, Vec<u8>, Vec<u8>) {
    let (mut pair, id) = with_channel();
    pair.client.channel(id).send(b"first".to_vec()).expect("there is room");
    let first = pair.client_sends().expect("a record");
    pair.client.channel(id).send(b"second".to_vec()).expect("there is room");
    let second = pair.client_sends().expect("a record");
    (pair, first, second)
}

#[test]
fn any_flipped_byte_of_a_record_is_refused() {
    let (_, first, _) = two_records();
    for at in 0..first.len() {
        let (mut pair, mut first, _) = two_records();
        first[at] ^= 0x10;
        assert_eq!(pair.server_takes(&first), Err(ConnectionError::Altered), "byte {at}");
    }
}

#[test]
fn a_record_replayed_dropped_reordered_or_turned_round_is_refused() {
    let (mut replayed, first, _) = two_records();
    replayed.server_takes(&first).expect("good");
    assert_eq!(replayed.server_takes(&first), Err(ConnectionError::Altered));

    let (mut dropped, _, second) = two_records();
    assert_eq!(dropped.server_takes(&second), Err(ConnectionError::Altered));

    let (mut reordered, first, second) = two_records();
    assert_eq!(reordered.server_takes(&second), Err(ConnectionError::Altered));
    assert_eq!(reordered.server_takes(&first), Ok(()), "the connection is closed and reads nothing more");
    assert!(reordered.server.is_closed());

    let (mut turned, first, _) = two_records();
    assert_eq!(turned.client_takes(&first), Err(ConnectionError::Altered));

    let (mut cut, first, _) = two_records();
    assert_eq!(cut.server_takes(&first[..first.len() - 1]), Err(ConnectionError::Altered));
    let (mut short, ..) = two_records();
    assert_eq!(short.server_takes(&[1, 2, 3]), Err(ConnectionError::Altered));
}

#[test]
fn a_record_of_one_session_opens_in_no_other() {
    let (_, first, _) = two_records();
    let mut other = Pair::new(2).open();
    assert_eq!(other.server_takes(&first), Err(ConnectionError::Altered));
}

#[test]
fn the_victim_of_an_altered_record_is_told_under_the_seal() {
    let (mut pair, mut first, _) = two_records();
    first[0] ^= 1;
    assert!(pair.server_takes(&first).is_err());
    pair.run();
    let Some(ConnectionError::PeerClosed(close)) = pair.client_seen.closed else { panic!("{:?}", pair.client_seen) };
    assert_eq!(close.code, CloseCode::Altered);
}

#[test]
fn keys_change_after_65536_records_and_the_line_goes_on() {
    let (mut pair, id) = with_channel();
    for index in 0..REKEY_INTERVAL_RECORDS + 10 {
        pair.client.channel(id).send(index.to_be_bytes().to_vec()).expect("there is room");
        pair.run();
        assert_eq!(message(pair.server.channel(id).recv()), index.to_be_bytes());
    }
}

#[test]
fn random_bytes_never_panic_and_never_open_anything() {
    const SEED: u64 = 20_261_122;
    println!("seed {SEED}");
    let mut bytes = Bytes::new(SEED);
    for _ in 0..2_000 {
        let len = bytes.below(2_000);
        let mut noise: Vec<u8> = (0..len).map(|_| bytes.byte()).collect();
        let mut pair = Pair::new(1);
        assert!(pair.server.handle_message(pair.now, &mut noise).is_err());
        assert!(pair.client.handle_message(pair.now, &mut noise).is_err());
    }
}

/// The time at which both ends look at their clocks.
fn at(pair: &mut Pair, millis: u64) {
    pair.now = duologue::Instant::from_micros(millis * 1_000);
    pair.client.handle_timeout(pair.now);
    pair.server.handle_timeout(pair.now);
}

#[test]
fn an_idle_line_stays_open_by_its_pings() {
    let mut pair = Pair::new(1).open();
    for second in 1..600 {
        at(&mut pair, second * 1_000);
        pair.run();
    }
    assert!(pair.client.is_open() && pair.server.is_open(), "{:?} {:?}", pair.client_seen, pair.server_seen);
}

#[test]
fn a_dead_link_is_found_out_by_both_ends_in_time() {
    let mut pair = Pair::new(1).open();
    // Nothing is carried any more. The server asks after 45 s and waits for 10; the client hears nothing for 60.
    at(&mut pair, 44_999);
    at(&mut pair, 45_000);
    assert!(pair.server.is_open() && pair.client.is_open());
    at(&mut pair, 54_999);
    assert!(pair.server.is_open() && pair.client.is_open());
    at(&mut pair, 55_000);
    assert!(pair.server.is_closed());
    at(&mut pair, 59_999);
    assert!(pair.client.is_open());
    at(&mut pair, 60_000);
    pair.answer();
    assert_eq!(pair.server_seen.closed, Some(ConnectionError::TimedOut));
    assert_eq!(pair.client_seen.closed, Some(ConnectionError::TimedOut));
}

#[test]
fn a_probe_finds_out_within_two_seconds() {
    let mut answered = Pair::new(1).open();
    answered.client.probe(answered.now);
    answered.run();
    at(&mut answered, 2_000);
    assert!(answered.client.is_open());

    let mut dead = Pair::new(1).open();
    dead.client.probe(dead.now);
    at(&mut dead, 1_000);
    // Asking again does not put the end off.
    dead.client.probe(dead.now);
    at(&mut dead, 1_999);
    assert!(dead.client.is_open());
    at(&mut dead, 2_000);
    assert!(dead.client.is_closed());
}

#[test]
fn an_answer_to_another_question_is_no_answer() {
    let mut pair = Pair::new(1).open();
    pair.client.probe(pair.now);
    let first = pair.client_sends().expect("a PING");
    pair.client.probe(pair.now);
    pair.server_takes(&first).expect("good");
    let pong = pair.server_sends().expect("a PONG");
    pair.client_takes(&pong).expect("good, but late");
    at(&mut pair, 2_000);
    assert!(pair.client.is_closed(), "the second question was never answered");
}

/// Each cost nothing: a peer without credit for the echoes of its empty messages made their queue endless.
#[test]
fn empty_messages_that_have_no_credit_do_not_queue_without_end() {
    let (mut pair, id) = with_channel();
    let mut queued = 0;
    loop {
        match pair.server.channel(id).send(Vec::new()) {
            Ok(_) => queued += 1,
            Err((error, _)) => break assert_eq!(error, ChannelError::Blocked),
        }
        assert!(queued <= SEND_QUEUE_LEN_MAX / QUEUED_MESSAGE_COST, "{queued} queued");
    }
}

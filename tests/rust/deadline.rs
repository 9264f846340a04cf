use std::time::{Duration, Instant};

use proptest::prelude::*;
use zkcoord::recipe::identifier::decode as identifier;
use zkcoord::recipe::semaphore::limit::Limit;
use zkcoord::wait::deadline::Deadline;

#[test]
fn never_is_later_than_any_deadline() {
    let soon = Deadline::after(Instant::now(), Duration::from_secs(1));
    assert_eq!(Deadline::NEVER.or(soon), soon);
    assert_eq!(soon.or(Deadline::NEVER), soon);
    assert_eq!(Deadline::NEVER.instant(), None);
}

#[test]
fn beyond_the_clocks_range_is_never() {
    assert_eq!(Deadline::after(Instant::now(), Duration::MAX), Deadline::NEVER);
}

#[test]
fn a_pools_data_is_a_number_nothing_or_somebody_elses() {
    assert_eq!(Limit::decode(b""), Limit::Unset);
    assert_eq!(Limit::decode(b"3"), Limit::Number(3));
    assert_eq!(Limit::decode(b" 12\n"), Limit::Number(12));
    assert_eq!(Limit::decode(b"-1"), Limit::Number(-1));
    for foreign in [&b"three"[..], b"1.5", b"\xff\xfe", b" ", b"99999999999999999999"] {
        assert_eq!(Limit::decode(foreign), Limit::Foreign, "{foreign:?}");
    }
}

#[test]
fn bytes_that_are_no_text_are_shown_all_the_same() {
    assert_eq!(identifier(b"web\xff1"), "web\u{fffd}1");
}

proptest! {
    #[test]
    fn the_earlier_deadline_wins(a in 0u64..1_000_000, b in 0u64..1_000_000) {
        let now = Instant::now();
        let (x, y) = (Deadline::after(now, Duration::from_millis(a)), Deadline::after(now, Duration::from_millis(b)));
        prop_assert_eq!(x.or(y), Deadline::after(now, Duration::from_millis(a.min(b))));
    }

    #[test]
    fn a_limit_survives_its_bytes(limit in 1u32..) {
        prop_assert_eq!(Limit::decode(Limit::encode(limit).as_bytes()), Limit::Number(limit.into()));
    }

    #[test]
    fn any_bytes_decode(data in any::<Vec<u8>>()) {
        let _ = (Limit::decode(&data), identifier(&data));
    }
}

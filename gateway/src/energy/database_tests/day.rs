//! A day is closed once, and to the last microjoule.

use super::super::{day, table};
use super::*;
use crate::ledger::tests::customer;

/// A node's day: what its reports say, and what its requests took.
struct Day {
    node: Uuid,
    moved: Moved,
    requests: Vec<Uuid>,
}

impl Day {
    /// Requests of these energies, of which the reports of two pools say the same, beside these microjoules elsewhere and
    /// of idle time.
    async fn new(database: &PgPool, energies: &[u64], (elsewhere, idle): (u64, u64)) -> Self {
        let (node, ours) = (Uuid::now_v7(), energies.iter().sum::<u64>());
        let moved = Moved { attributed: ours + elsewhere, elsewhere, idle, foreign: 11 };
        let requests: Vec<Uuid> = energies.iter().map(|_| request_at(some_time())).collect();
        let of = |(id, microjoules): (&Uuid, &u64)| record(node, *id, &[energy(*microjoules, true)]);
        let records: Vec<RequestRecord> = requests.iter().zip(energies).map(of).collect();
        ship(database, &records).await;
        // Everything but the last microjoule in the first report.
        let last = Moved { attributed: moved.attributed.min(1), idle: moved.idle.min(1), ..Moved::default() };
        let first = Moved { attributed: moved.attributed - last.attributed, idle: moved.idle - last.idle, ..moved };
        let first = Moved { elsewhere: first.elsewhere.min(first.attributed), ..first };
        let last = Moved { elsewhere: moved.elsewhere - first.elsewhere, ..last };
        for (sequence, moved) in [(1, first), (2, last)] {
            let report = report(sequence, some_time(), vec![window("machine", moved)], Vec::new());
            assert!(table::keep(database, node, "signed", &report).await.unwrap());
        }
        Self { node, moved, requests }
    }

    /// Whether it is closed to the last microjoule, and how much idle energy its requests bear.
    async fn closed(&self, database: &PgPool) -> u64 {
        let sums = sqlx::query!(
            "select total_microjoules, attributed_microjoules, elsewhere_microjoules, idle_microjoules,
                foreign_microjoules, busy_microseconds, shared_microjoules from node_energy_days where node_id = $1",
            self.node
        )
        .fetch_one(database)
        .await
        .unwrap();
        let Moved { attributed, elsewhere, idle, foreign } = self.moved;
        let said = [attributed, elsewhere, idle, foreign].map(u64::cast_signed);
        let kept = [sums.attributed_microjoules, sums.elsewhere_microjoules, sums.idle_microjoules];
        assert_eq!((kept, sums.foreign_microjoules), ([said[0], said[1], said[2]], said[3]));
        assert_eq!((sums.total_microjoules, sums.busy_microseconds), (said[0] + said[2] + said[3], 1_200_000));
        let (mut all, mut weights) = (0, 0);
        for request in &self.requests {
            let row = row(database, *request, 1).await;
            assert_eq!(row, expected(row.microjoules, row.idle_microjoules, "final"));
            let (share, weight) = (u128::from(row.idle_microjoules.unsigned_abs()), row.microjoules.unsigned_abs());
            let exact = u128::from(sums.shared_microjoules.unsigned_abs()) * u128::from(weight);
            let ours = u128::from(attributed - elsewhere).max(1);
            assert!(
                (exact / ours..=exact / ours + 1).contains(&share),
                "{share} µJ for {weight}, exactly {exact} / {ours}"
            );
            all += row.microjoules + row.idle_microjoules;
            weights += weight;
        }
        assert_eq!(weights, attributed - elsewhere);
        assert_eq!(all, said[0] - said[1] + sums.shared_microjoules, "not a microjoule is lost or made");
        sums.shared_microjoules.unsigned_abs()
    }
}

/// On that day.
fn some_time() -> OffsetDateTime {
    today().midnight().assume_utc() + time::Duration::milliseconds(fastrand::i64(0..86_400_000))
}

/// Late enough to close that day.
fn tomorrow() -> OffsetDateTime {
    today().midnight().assume_utc() + time::Duration::hours(25)
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn whatever_a_day_was_like_its_idle_energy_is_shared_to_the_last_microjoule(database: PgPool) {
    let mut days = Vec::new();
    for number in 0..24 {
        // Nobody, one, and then more and more.
        let requests = if number < 2 { number } else { fastrand::usize(1..30) };
        let energies: Vec<u64> = (0..requests).map(|_| fastrand::u64(0..1 << fastrand::u32(1..40))).collect();
        let elsewhere = if fastrand::bool() { fastrand::u64(0..1_000_000_000) } else { 0 };
        days.push(Day::new(&database, &energies, (elsewhere, fastrand::u64(0..10_000_000_000))).await);
    }
    assert_eq!(day::close_all(&database, tomorrow()).await.unwrap(), 24);
    for day in &days {
        let shared = day.closed(&database).await;
        let Moved { attributed, elsewhere, idle, .. } = day.moved;
        let exact = u128::from(idle) * u128::from(attributed - elsewhere) / u128::from(attributed.max(1));
        assert_eq!(u128::from(shared), exact, "in proportion to what was for this gateway: {:?}", day.moved);
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_machine_that_would_run_anyway_shares_nothing(database: PgPool) {
    let at_home = Day::new(&database, &[100, 200], (0, 90)).await;
    let dedicated = Day::new(&database, &[100, 200], (0, 90)).await;
    let account = customer(&database, "op@example.com", 0).await;
    for (day, policy) in [(&at_home, "opportunistic"), (&dedicated, "dedicated")] {
        let key = day.node.as_bytes().repeat(2);
        sqlx::query!(
            "insert into nodes (id, account_id, name, public_key, offer)
             values ($1, $2, 'n', $3, jsonb_build_object('energy', jsonb_build_object('idle_policy', $4::text)))",
            day.node,
            account,
            key.as_slice(),
            policy
        )
        .execute(&database)
        .await
        .unwrap();
    }
    assert_eq!(day::close_all(&database, tomorrow()).await.unwrap(), 2);
    assert_eq!((at_home.closed(&database).await, dedicated.closed(&database).await), (0, 90));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_day_is_closed_once(database: PgPool) {
    let day = Day::new(&database, &[100, 200], (0, 90)).await;
    assert_eq!(day::close_all(&database, tomorrow()).await.unwrap(), 1);
    let before = day.closed(&database).await;
    // What comes too late changes nothing that is final.
    let more = report(3, noon(), vec![window("machine", Moved { idle: 1_000, ..Moved::default() })], Vec::new());
    table::keep(&database, day.node, "signed", &more).await.unwrap();
    let word = report(4, noon(), Vec::new(), vec![settled(day.requests[0], 1, 5)]);
    table::keep(&database, day.node, "signed", &word).await.unwrap();
    for later in [tomorrow(), tomorrow() + time::Duration::days(100)] {
        assert_eq!(day::close_all(&database, later).await.unwrap(), 0);
        assert_eq!(day.closed(&database).await, before);
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn replicas_that_close_the_same_days_close_each_once(database: PgPool) {
    let mut days = Vec::new();
    for number in 1..5 {
        days.push(Day::new(&database, &vec![fastrand::u64(1..1_000_000); number * 5], (1_000, 987_654_321)).await);
    }
    let closing = (0..4).map(|_| day::close_all(&database, tomorrow()));
    let closed = futures_util::future::join_all(closing).await;
    assert_eq!(closed.into_iter().map(Result::unwrap).sum::<u64>(), 4);
    for day in &days {
        day.closed(&database).await;
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_day_ends_at_midnight_and_is_closed_an_hour_later(database: PgPool) {
    let (midnight, next) = (today().midnight().assume_utc(), today().next_day().unwrap().midnight().assume_utc());
    let moment = time::Duration::milliseconds(1);
    let ids = [midnight - moment, midnight, next - moment, next].map(request_at);
    let node = Uuid::now_v7();
    let records = ids.map(|id| record(node, id, &[energy(1_000, true)]));
    ship(&database, &records).await;
    let moved = Moved { attributed: 2_000, idle: 500, ..Moved::default() };
    table::keep(&database, node, "signed", &report(1, next - moment, vec![window("machine", moved)], Vec::new()))
        .await
        .unwrap();
    let an_hour_later = next + time::Duration::hours(1);
    assert_eq!(day::close_all(&database, an_hour_later - moment).await.unwrap(), 0, "what is late may still come");
    assert_eq!(day::close_all(&database, an_hour_later).await.unwrap(), 1);
    let rows = [
        row(&database, ids[0], 1).await,
        row(&database, ids[1], 1).await,
        row(&database, ids[2], 1).await,
        row(&database, ids[3], 1).await,
    ];
    let (open, closed) = (|| expected(1_000, 250, "settled"), || expected(1_000, 250, "final"));
    assert_eq!(rows, [open(), closed(), closed(), open()]);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn one_node_s_impossible_day_holds_up_nobody_else_s(database: PgPool) {
    let liar = Uuid::from_u128(1);
    let enormous = |pool| window(pool, Moved { idle: i64::MAX.unsigned_abs() - 1_000, ..Moved::default() });
    let lie = report(1, noon(), vec![enormous("one"), enormous("other")], Vec::new());
    table::keep(&database, liar, "signed", &lie).await.unwrap();
    let honest = Day::new(&database, &[100, 200], (0, 90)).await;
    // Whether there is an error to tell of does not matter here.
    let _ = day::close_all(&database, tomorrow()).await;
    assert_eq!(honest.closed(&database).await, 90);
}

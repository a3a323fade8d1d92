//! What a node says of its counters is kept once, and only where it adds up.

use super::super::honesty::verdict::Standing;
use super::super::table;
use super::*;

/// Reports, windows, and what is settled of requests that nobody knows.
async fn counts(database: &PgPool) -> (i64, i64, i64) {
    let row = sqlx::query!(
        r#"select (select count(*) from energy_reports) as "reports!", (select count(*) from energy_windows) as "windows!",
               (select count(*) from energy_settlements) as "settlements!""#
    )
    .fetch_one(database)
    .await
    .unwrap();
    (row.reports, row.windows, row.settlements)
}

async fn known(database: &PgPool, node: Uuid) -> super::super::Known {
    let all = table::known(database).await.unwrap();
    all.into_iter().find(|(id, _)| *id == node).map(|(_, known)| known).unwrap()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_report_is_kept_once(database: PgPool) {
    let node = Uuid::now_v7();
    let moved = Moved { attributed: 70, elsewhere: 20, idle: 20, foreign: 10 };
    let pools = vec![window("gpu-0", moved), window("package-0", moved)];
    let report = report(3, noon(), pools, vec![settled(Uuid::now_v7(), 1, 50)]);
    assert_eq!(table::newest(&database, node).await.unwrap(), 0);
    for expected in [true, false, false] {
        assert_eq!(table::keep(&database, node, "signed", &report).await.unwrap(), expected);
        assert_eq!(counts(&database).await, (1, 2, 1));
    }
    assert_eq!(table::newest(&database, node).await.unwrap(), 3);
    let known = known(&database, node).await;
    assert_eq!((known.attributed_microjoules, known.idle_microjoules, known.costs.windows), (140, 40, 7));
    assert_eq!(known.busy_microseconds, 600_000, "of the machine, not of each of its pools");
    assert!(table::keep(&database, Uuid::now_v7(), "signed", &report).await.unwrap(), "another node counts for itself");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn replicas_that_read_the_same_report_keep_it_once(database: PgPool) {
    let (node, moved) = (Uuid::now_v7(), Moved { attributed: 5, ..Moved::default() });
    let report = report(1, noon(), vec![window("machine", moved)], vec![settled(Uuid::now_v7(), 1, 5)]);
    let keeping = (0..4).map(|_| table::keep(&database, node, "signed", &report));
    let kept = futures_util::future::join_all(keeping).await;
    assert_eq!(kept.into_iter().filter(|kept| *kept.as_ref().unwrap()).count(), 1);
    assert_eq!(counts(&database).await, (1, 1, 1));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_does_not_add_up_is_refused_and_leaves_nothing_behind(database: PgPool) {
    let right = window("machine", Moved { attributed: 70, elsewhere: 20, idle: 20, foreign: 10 });
    let changed = |change: fn(&mut PoolWindow)| {
        let mut window = right.clone();
        change(&mut window);
        report(1, noon(), vec![right.clone(), PoolWindow { pool: "other".to_owned(), ..window }], Vec::new())
    };
    let mut insane = settled(Uuid::now_v7(), 1, 50);
    insane.energy.low_microjoules = Microjoules::new(51);
    let enormous = (0..3).map(|_| settled(Uuid::now_v7(), 1, u64::MAX / 2)).collect();
    for (what, wrong) in [
        ("a microjoule too many", changed(|window| window.idle = Microjoules::new(21))),
        ("a microjoule too few", changed(|window| window.foreign = Microjoules::ZERO)),
        ("more elsewhere than at all", changed(|window| window.elsewhere = Microjoules::new(71))),
        ("a counter that runs back", changed(|window| window.counter_from = Microjoules::new(9_999))),
        ("a word that contradicts itself", report(1, noon(), vec![right.clone()], vec![insane])),
        ("more than there is", report(1, noon(), vec![right.clone()], enormous)),
        ("no number", report(0, noon(), vec![right.clone()], Vec::new())),
    ] {
        assert!(table::keep(&database, Uuid::now_v7(), "signed", &wrong).await.is_err(), "{what}");
        assert_eq!(counts(&database).await, (0, 0, 0), "{what}");
    }
    table::keep(&database, Uuid::now_v7(), "signed", &report(1, noon(), vec![right], Vec::new())).await.unwrap();
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_last_24_hours_count(database: PgPool) {
    let node = Uuid::now_v7();
    let of = |attributed| vec![window("machine", Moved { attributed, idle: attributed / 10, ..Moved::default() })];
    for (sequence, hours_ago, attributed) in [(1, 25, 1_000), (2, 23, 200), (3, 0, 30)] {
        let to = noon() - time::Duration::hours(hours_ago);
        table::keep(&database, node, "signed", &report(sequence, to, of(attributed), Vec::new())).await.unwrap();
    }
    let before = known(&database, node).await;
    let sums = (before.attributed_microjoules, before.idle_microjoules, before.busy_microseconds);
    assert_eq!(sums, (230, 23, 1_200_000));
    let others = Uuid::now_v7();
    table::keep(&database, others, "signed", &report(1, noon(), of(7), Vec::new())).await.unwrap();
    assert_eq!(known(&database, node).await, before, "of this node alone");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_node_without_a_sensor_has_used_nothing(database: PgPool) {
    let node = Uuid::now_v7();
    table::keep(&database, node, "signed", &report(1, noon(), Vec::new(), Vec::new())).await.unwrap();
    let known = known(&database, node).await;
    assert_eq!((known.attributed_microjoules, known.idle_microjoules), (0, 0));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_worst_opinion_of_a_node_counts_for_a_day(database: PgPool) {
    let node = Uuid::now_v7();
    table::keep(&database, node, "signed", &report(1, noon(), Vec::new(), Vec::new())).await.unwrap();
    let standing = |believed, tier_cap| Standing { believed, tier_cap, reasons: Vec::new() };
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    table::judge(&database, one, node, &[], &standing(true, Tier::C)).await.unwrap();
    table::judge(&database, other, node, &[], &standing(false, Tier::A)).await.unwrap();
    let now = known(&database, node).await;
    assert_eq!((now.believed, now.tier_cap), (false, Tier::C));
    table::judge(&database, other, node, &[], &standing(true, Tier::A)).await.unwrap();
    assert!(known(&database, node).await.believed, "a replica may change its mind");
    sqlx::query!("update energy_standings set updated_at = now() - interval '25 hours' where replica_id = $1", one)
        .execute(&database)
        .await
        .unwrap();
    assert_eq!(known(&database, node).await.tier_cap, Tier::A, "a replica that is gone is forgotten");
}

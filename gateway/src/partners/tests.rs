//! What partners bill, in a real database.

use fastrand::Rng;
use openapi::log::hash::Hash;
use openapi::receipt::ReceiptId;
use openapi::units::Nanocredits;
use sqlx::PgPool;
use uuid::Uuid;

use super::table::{self, Found, Invoice, Netted, NewPartner, Partner};
use crate::epochs::tests::world::World;
use crate::ledger::account::Account;
use crate::ledger::audit;

/// A request that the partner has answered, and what the ledger has given it for that.
struct Answered {
    request: Uuid,
    share: i64,
}

/// A gateway that has a partner, which has answered some requests.
async fn with_partner(database: &PgPool) -> (World, Partner, Vec<Answered>) {
    let world = World::new(database.clone()).await;
    world.serve(&world.ask(60, &mut Rng::with_seed(7))).await;
    let account = world.operators[1];
    let (name, url) = ("the other", "https://gateway.example");
    let new =
        NewPartner { account, name, url, origin: "gateway.example/log", log_keys: "log k\n", by: world.user().await };
    let id = table::add(database, &new).await.unwrap().unwrap();
    assert_eq!(table::add(database, &new).await.unwrap(), None, "an account is one partner's");
    let node =
        sqlx::query_scalar!("select id from nodes where account_id = $1", account).fetch_one(database).await.unwrap();
    table::answers_as(&mut database.acquire().await.unwrap(), id, node).await.unwrap();
    let answered = sqlx::query_as!(
        Answered,
        r#"select e.request_id as "request!", p.nanocredits as share from events e join postings p on p.event_id = e.id
           where e.kind = 'settlement' and p.account = $1 and p.nanocredits > 100 order by e.request_id"#,
        Account::Operator(account).to_string()
    );
    let answered = answered.fetch_all(database).await.unwrap();
    assert!(answered.len() > 3);
    (world, table::find(database, id).await.unwrap().unwrap(), answered)
}

fn invoice(index: u64, request: Option<Uuid>, judged: Result<i64, &str>, claimed: i64) -> Invoice {
    let nanocredits = |count: i64| Nanocredits::new(count.unsigned_abs());
    Invoice {
        index,
        leaf: Hash::leaf(&index.to_be_bytes()),
        attempt: request.map(|request| ReceiptId { request, attempt: 1 }),
        receipt: format!("receipt {index}"),
        claimed: nanocredits(claimed),
        energy: None,
        judged: judged.map(nanocredits).map_err(str::to_owned),
    }
}

async fn earned(database: &PgPool, partner: &Partner) -> i64 {
    let account = Account::Operator(partner.account).to_string();
    sqlx::query_scalar!("select nanocredits from balances where account = $1", account)
        .fetch_one(database)
        .await
        .unwrap()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_is_billed_takes_the_place_of_what_was_set_aside_once(database: PgPool) {
    let (world, partner, answered) = with_partner(&database).await;
    let before = earned(&database, &partner).await;
    let [one, two, three] = [&answered[0], &answered[1], &answered[2]];
    let page = [
        invoice(4, Some(one.request), Ok(one.share - 30), one.share - 30),
        invoice(5, Some(two.request), Ok(0), 0),
        invoice(9, Some(two.request), Ok(two.share + 11), two.share + 11),
        invoice(10, Some(one.request), Ok(50), 50),
        invoice(11, None, Err("no attempt of ours"), 70),
        invoice(12, Some(three.request), Err("too many tokens"), three.share + 5),
    ];
    assert!(table::take(&database, &partner, (0, 20), &page).await.unwrap());
    assert!(!table::take(&database, &partner, (0, 20), &page).await.unwrap(), "another replica was first");
    assert_eq!(earned(&database, &partner).await, before - 30 + 11);
    let kept = table::invoices(&database, partner.id, (0, 100), true).await.unwrap();
    let disputes: Vec<(u64, &str)> = kept.iter().map(|one| (one.index, one.dispute.as_deref().unwrap())).collect();
    let twice = "This attempt was billed before.";
    assert_eq!(disputes, [(10, twice), (11, "no attempt of ours"), (12, "too many tokens")]);
    assert_eq!(table::disputed(&database, partner.id).await.unwrap(), 3);

    let by = world.user().await;
    assert!(table::own_up(&database, &partner, 12, by).await.unwrap());
    assert!(!table::own_up(&database, &partner, 12, by).await.unwrap(), "once");
    assert!(table::own_up(&database, &partner, 10, by).await.is_err(), "an attempt is owed once");
    assert_eq!(earned(&database, &partner).await, before - 30 + 11 + 5);
    assert!(table::own_up(&database, &partner, 11, by).await.unwrap());
    assert_eq!(earned(&database, &partner).await, before - 30 + 11 + 5 + 70);
    let read = table::find(&database, partner.id).await.unwrap().unwrap();
    assert_eq!(read.read_until, 20);
    assert!(audit::compare(&database).await.unwrap().is_empty());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn only_attempts_at_the_partner_are_its(database: PgPool) {
    let (world, partner, answered) = with_partner(&database).await;
    let its = ReceiptId { request: answered[0].request, attempt: 1 };
    let found = table::ours(&database, &partner, its).await.unwrap();
    let Found::Attempt(Some(ours)) = found else { panic!("it is noted") };
    assert!(ours.noted.most_prompt_tokens > 0);
    let elsewhere = Partner { node: Some(world.operators[0]), ..partner.clone() };
    for (partner, id) in [
        (&elsewhere, its),
        (&partner, ReceiptId { attempt: 2, ..its }),
        (&partner, ReceiptId { request: Uuid::now_v7(), ..its }),
        (&partner, ReceiptId { attempt: u32::MAX, ..its }),
    ] {
        assert!(matches!(table::ours(&database, partner, id).await.unwrap(), Found::Nothing), "{id}");
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_partner_is_paid_what_is_left_and_nothing_before_both_agree(database: PgPool) {
    let (world, partner, _) = with_partner(&database).await;
    let party = Account::Operator(partner.account).to_string();
    let owed = earned(&database, &partner).await;
    let close = async || {
        let at = time::OffsetDateTime::now_utc();
        let epochs = crate::epochs::Epochs::new(0, Nanocredits::new(1));
        epochs.close(&database, &world.log, at).await.unwrap().unwrap();
        let due = "select nanocredits from payouts where party = $1 and state = 'due' order by epoch";
        sqlx::query_scalar::<_, i64>(due).bind(&party).fetch_all(&database).await.unwrap()
    };
    assert_eq!(close().await, [0_i64; 0], "nothing is agreed");
    let agree = async |number: u32, we_owe: u64, they_owe: u64| {
        let [we_owe, they_owe] = [we_owe, they_owe].map(Nanocredits::new);
        let (digest, agreed_at) = (vec![u8::try_from(number).unwrap(); 32], time::OffsetDateTime::now_utc());
        let netted = Netted { number, digest, our_end: 9, their_end: 9, we_owe, they_owe, agreed_at };
        table::net(&mut database.acquire().await.unwrap(), partner.id, &netted, None).await
    };
    agree(1, 700, 200).await.unwrap();
    assert!(agree(1, 9, 9).await.is_err(), "each number once");
    assert_eq!(close().await, [500]);
    agree(2, 100, 400).await.unwrap();
    agree(3, u64::MAX >> 2, 0).await.unwrap();
    assert_eq!(close().await, [500, owed - 500], "never more than it has earned");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn who_is_a_partner_is_known_until_it_ends(database: PgPool) {
    let (_world, partner, _) = with_partner(&database).await;
    let partners = super::Partners::open(&database).await.unwrap();
    let node = partner.node.unwrap();
    assert!(partners.asks_as(partner.account) && partners.answers_as(node));
    assert!(!partners.asks_as(node) && !partners.answers_as(partner.account));
    table::end(&database, partner.id).await.unwrap();
    partners.reload(&database).await.unwrap();
    assert!(!partners.asks_as(partner.account) && !partners.answers_as(node));
}

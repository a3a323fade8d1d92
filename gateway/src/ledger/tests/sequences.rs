//! Random sequences of movements beside a model of the ledger in a few lines: after each step both say the same.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sqlx::PgPool;
use uuid::Uuid;

use super::super::account::Account;
use super::super::audit;
use super::super::event::{Posted, Refused};
use super::super::movement::{Against, Direction, MOST, Movement};
use super::{ask, balances, customer, settle};

/// One thing that somebody tries.
#[derive(Clone, Debug)]
enum Step {
    TopUp(u64),
    Grant(u64),
    Refund {
        request: usize,
        nanocredits: u64,
    },
    Adjust {
        against: Against,
        direction: Direction,
        nanocredits: u64,
    },
    PayOperator(u64),
    PayAuthor(u64),
    PayCustomer(u64),
    Net(u64),
    /// The same again, with the same key.
    Repeat(usize),
    /// Something else with a key that was used.
    Clash(usize),
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1..400_u64, 1 => Just(0), 1 => Just(MOST.get()), 1 => Just(u64::MAX), 1 => 1..=MOST.get()]
}

fn step() -> impl Strategy<Value = Step> {
    let against = prop_oneof![Just(Against::Gateway), Just(Against::Losses)];
    let direction = prop_oneof![1 => Just(Direction::Give), 3 => Just(Direction::Take)];
    prop_oneof![
        1 => amount().prop_map(Step::TopUp),
        1 => amount().prop_map(Step::Grant),
        3 => (0..3_usize, prop_oneof![amount(), 30..90_u64]).prop_map(|(request, nanocredits)| Step::Refund { request, nanocredits }),
        1 => (against, direction, amount()).prop_map(|(against, direction, nanocredits)| Step::Adjust {
            against,
            direction,
            nanocredits
        }),
        1 => amount().prop_map(Step::PayOperator),
        1 => amount().prop_map(Step::PayAuthor),
        1 => amount().prop_map(Step::PayCustomer),
        1 => amount().prop_map(Step::Net),
        1 => any::<usize>().prop_map(Step::Repeat),
        1 => any::<usize>().prop_map(Step::Clash),
    ]
}

/// What the ledger should do, in a few lines.
struct Model {
    account: Uuid,
    leased: i128,
    /// What each request cost, less what was given back.
    refundable: BTreeMap<Uuid, i128>,
    balances: BTreeMap<String, i128>,
}

impl Model {
    /// Moves, and says whether that is possible.
    fn apply(&mut self, movement: &Movement, nanocredits: u64) -> bool {
        let amount = i128::from(nanocredits);
        let customer = Account::Customer(self.account).to_string();
        let balance = |account: &str| self.balances.get(account).copied().unwrap_or(0);
        let (from, to, limit) = match movement {
            Movement::TopUp(_) => ("external".to_owned(), customer, i128::MAX),
            Movement::Grant(_) => ("gateway".to_owned(), customer, i128::MAX),
            Movement::Refund { request, .. } => {
                ("gateway".to_owned(), customer, self.refundable.get(request).copied().unwrap_or(0))
            }
            Movement::Adjustment { against, direction, .. } => {
                let other = if *against == Against::Gateway { "gateway" } else { "losses" }.to_owned();
                match direction {
                    Direction::Give => (other, customer, i128::MAX),
                    Direction::Take => {
                        let available = balance(&customer) - self.leased;
                        (customer, other, available)
                    }
                }
            }
            Movement::Payout(earner @ (Account::Operator(_) | Account::Author(_))) => {
                let earned = balance(&earner.to_string());
                (earner.to_string(), "external".to_owned(), earned)
            }
            Movement::Payout(_) => return false,
            Movement::Netting(account) => {
                let earner = Account::Operator(*account).to_string();
                let earned = balance(&earner);
                (earner, Account::Customer(*account).to_string(), earned)
            }
        };
        let (less, more) = (balance(&from) - amount, balance(&to) + amount);
        let fits = |balance: i128| i64::try_from(balance).is_ok();
        if amount == 0 || nanocredits > MOST.get() || amount > limit || !fits(less) || !fits(more) {
            return false;
        }
        self.balances.extend([(from, less), (to, more)]);
        if let Movement::Refund { request, .. } = movement {
            *self.refundable.entry(*request).or_default() -= amount;
        }
        true
    }
}

/// An account with 1000 nanocredits, of which it paid 300 for two requests and a replica has leased 200.
async fn model(database: &PgPool) -> (Model, Vec<Uuid>) {
    let account = customer(database, &format!("{}@example.com", Uuid::now_v7()), 1000).await;
    let requests = vec![settle(database, account, 100, 7).await, settle(database, account, 200, 0).await, account];
    sqlx::query!(
        "with replica as (insert into replicas (id, version) values ($1, '1')) insert into credit_leases values ($1, $2, 200)",
        Uuid::now_v7(),
        account
    )
    .execute(database)
    .await
    .unwrap();
    let refundable = BTreeMap::from([(requests[0], 100), (requests[1], 200)]);
    (Model { account, leased: 200, refundable, balances: balances(database).await }, requests)
}

async fn run(database: &PgPool, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut model, requests) = model(database).await;
    let account = model.account;
    let mut done: Vec<(Movement, u64, String)> = Vec::new();
    for step in steps {
        let (movement, nanocredits, before) = match step.clone() {
            Step::TopUp(nanocredits) => (Movement::TopUp(account), nanocredits, None),
            Step::Grant(nanocredits) => (Movement::Grant(account), nanocredits, None),
            Step::Refund { request, nanocredits } => {
                (Movement::Refund { account, request: requests[request] }, nanocredits, None)
            }
            Step::Adjust { against, direction, nanocredits } => {
                (Movement::Adjustment { account, against, direction }, nanocredits, None)
            }
            Step::PayOperator(nanocredits) => (Movement::Payout(Account::Operator(account)), nanocredits, None),
            Step::PayAuthor(nanocredits) => (Movement::Payout(Account::author("A").unwrap()), nanocredits, None),
            Step::PayCustomer(nanocredits) => (Movement::Payout(Account::Customer(account)), nanocredits, None),
            Step::Net(nanocredits) => (Movement::Netting(account), nanocredits, None),
            Step::Repeat(_) | Step::Clash(_) if done.is_empty() => continue,
            Step::Repeat(at) => {
                let (movement, nanocredits, key) = done[at % done.len()].clone();
                (movement, nanocredits, Some(key))
            }
            Step::Clash(at) => {
                let (movement, nanocredits, key) = done[at % done.len()].clone();
                (movement, nanocredits % 400 + 1, Some(key))
            }
        };
        let key = before.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        let same = done.iter().any(|(_, first, used)| *used == key && *first == nanocredits);
        let result = ask(database, &movement, nanocredits, &key).await;
        match (&before, same) {
            (Some(_), true) => prop_assert!(matches!(result, Ok(Posted::Before(_))), "{step:?} {result:?}"),
            (Some(_), false) => prop_assert!(matches!(result, Err(Refused::KeyUsed)), "{step:?} {result:?}"),
            (None, _) => {
                let possible = model.apply(&movement, nanocredits);
                let as_expected = match &result {
                    Ok(Posted::Now(_)) => possible,
                    Ok(Posted::Before(_)) | Err(Refused::Database(_)) => false,
                    Err(_) => !possible,
                };
                prop_assert!(as_expected, "{step:?} possible {possible}: {result:?}");
                done.extend(possible.then_some((movement, nanocredits, key)));
            }
        }
        prop_assert_eq!(balances(database).await, model.balances.clone(), "after {:?}", step);
        let differences = audit::compare(database).await.unwrap();
        // Requests have no rows here, so nothing is said of them.
        prop_assert!(differences.is_empty(), "{}", differences);
        prop_assert!(model.balances[&Account::Customer(account).to_string()] >= 0);
    }
    Ok(())
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn whatever_is_tried_the_ledger_is_what_a_simple_model_says(database: PgPool) {
    const CASES: u32 = 40;
    let runtime = tokio::runtime::Handle::current();
    let tried = tokio::task::spawn_blocking(move || {
        let config = Config { cases: CASES, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
        let steps = proptest::collection::vec(step(), 1..25);
        TestRunner::new(config).run(&steps, |steps| runtime.block_on(run(&database, steps)))
    });
    tried.await.unwrap().unwrap();
}

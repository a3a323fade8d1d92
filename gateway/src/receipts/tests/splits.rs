//! A receipt shares an answer's cost as the ledger has, whatever came into the log meanwhile.

use std::collections::HashMap;

use openapi::price::Split;
use openapi::receipt::Receipt;
use openapi::receipt::jws::Jws;
use sqlx::PgPool;

use super::*;
use crate::auth::user::somebody;
use crate::ledger::settle::{self, Due};
use crate::ledger::split;
use crate::log::{self, Entry, Kind, Log};
use crate::secrets::Secrets;

/// A gateway whose split changes without notice.
struct Gateway {
    scene: Scene,
    log: Log,
    admin: Uuid,
}

impl Gateway {
    async fn new(database: PgPool) -> Self {
        let log = Log::open(&database, &Secrets::derive(&[1; 32]).unwrap(), None, None).await.unwrap();
        let (_, admin) = somebody(&database).await;
        Self { scene: Scene::new(database), log, admin }
    }

    async fn splits_otherwise(&self, authors_ppm: u32) {
        let split = Split { operator_ppm: 1_000_000 - authors_ppm, authors_ppm, gateway_ppm: 0, audit_fund_ppm: 0 };
        split::add(&self.scene.database, split, OffsetDateTime::now_utc(), self.admin).await.unwrap();
    }

    /// An answer as the shipper leaves it: with its row, what its receipt is to say, and its settlement.
    async fn settles(&self) -> Row {
        let row = self.scene.answered(true).await;
        let authors = ["Ada".to_owned(), "Grace".to_owned()];
        let cost = Nanocredits::new(row.nanocredits.unsigned_abs());
        let due = Due {
            request: row.id,
            billed_as: row.id,
            account: row.account,
            node: self.scene.node,
            authors: &authors,
            cost,
            at: row.at,
        };
        let mut transaction = self.scene.database.begin().await.unwrap();
        settle::settle(&mut transaction, Uuid::now_v7(), &[due]).await.unwrap();
        transaction.commit().await.unwrap();
        row
    }

    async fn taken(&self, row: &Row) -> i32 {
        let version =
            sqlx::query_scalar!(r#"select split_version as "version!" from events where request_id = $1"#, row.id);
        version.fetch_one(&self.scene.database).await.unwrap()
    }

    /// The receipt and its leaf in the log.
    async fn logged(&self, row: &Row) -> (Receipt, u64) {
        let kept = table::of_request(&self.scene.database, row.account, row.id).await.unwrap().pop().unwrap();
        let (token, _) = kept.signed.unwrap();
        let leaf = Entry::of(Kind::Receipt, token.as_bytes()).leaf();
        let index = log::index_of(&self.scene.database, leaf).await.unwrap().unwrap();
        (Jws::read(&token).unwrap().verify(&self.scene.gateway_key.public()).unwrap(), index)
    }

    /// Looks at every receipt there is. Gives how many have shared by which split.
    async fn check(&self, rows: &[Row]) -> HashMap<i32, usize> {
        let splits = split::list(&mut self.scene.database.acquire().await.unwrap()).await.unwrap();
        let places: HashMap<i32, Option<u64>> = splits.iter().map(|split| (split.version, split.log_index)).collect();
        let mut by_split = HashMap::new();
        for row in rows {
            let (receipt, index) = self.logged(row).await;
            assert_eq!(receipt.check(), Ok(None));
            let version = receipt.shares.unwrap().version;
            assert_eq!(version, self.taken(row).await, "as the ledger");
            assert!(version == 1 || places[&version].unwrap() < index, "{version} is not before {index}");
            *by_split.entry(version).or_default() += 1;
        }
        by_split
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_split_that_comes_into_the_log_between_settlement_and_receipt_changes_neither(database: PgPool) {
    let gateway = Gateway::new(database).await;
    gateway.splits_otherwise(0).await;
    let before = gateway.settles().await;
    gateway.log.append_all(&gateway.scene.database).await;
    let after = gateway.settles().await;
    assert_eq!((gateway.taken(&before).await, gateway.taken(&after).await), (1, 2));
    assert_eq!(gateway.scene.sign().await, 2);
    gateway.log.append_all(&gateway.scene.database).await;
    assert_eq!(gateway.check(&[before, after]).await, HashMap::from([(1, 1), (2, 1)]));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn in_whatever_order_things_happen_ledger_and_receipts_share_alike(database: PgPool) {
    let gateway = Gateway::new(database).await;
    let mut random = fastrand::Rng::with_seed(5);
    let mut rows = Vec::new();
    for step in 0..120 {
        match random.u32(0..8) {
            0 => gateway.splits_otherwise(step).await,
            1 => gateway.log.append_all(&gateway.scene.database).await,
            2 => drop(gateway.scene.sign().await),
            _ => rows.push(gateway.settles().await),
        }
    }
    gateway.scene.sign().await;
    gateway.log.append_all(&gateway.scene.database).await;
    let by_split = gateway.check(&rows).await;
    assert!(by_split.len() > 4, "{by_split:?}");
}

//! Receipts in a real database, with a node that may lie.

mod splits;

use openapi::chat::FinishReason;
use openapi::energy::{Boundary, Energy, Tier};
use openapi::price::{BilledTokens, Price};
use openapi::receipt::commitment::Salt;
use openapi::receipt::jws::{self, Jws, Signer};
use openapi::receipt::{Alone, NodeReceipt, Receipt, ReceiptId, VERSION};
use openapi::units::{Microjoules, Microseconds, Nanocredits};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::sign::{Notary, sign_due};
use super::table::{self, Expected, Received};
use crate::api::usage::synthetic::{Row, insert};
use crate::inference::record::Noted;
use crate::secrets::Secrets;

const SALT: Salt = Salt([5; 32]);
const SECRET: [u8; 32] = [3; 32];

/// An answer of a node, and what both have to say of it.
struct Scene {
    database: PgPool,
    node: Uuid,
    node_key: Signer,
    gateway_key: Signer,
    secrets: Secrets,
    last: Option<(u64, String)>,
}

impl Scene {
    fn new(database: PgPool) -> Self {
        let [node_key, gateway_key] = [[1; 32], [2; 32]].map(|seed| Signer::from_seed(&seed).unwrap());
        let secrets = Secrets::derive(&SECRET).unwrap();
        Self { database, node: Uuid::now_v7(), node_key, gateway_key, secrets, last: None }
    }

    /// A paid answer, as it stands in the database.
    async fn answered(&self, is_attached: bool) -> Row {
        let price = price();
        let tokens = BilledTokens { prompt: 9, cached: 0, completion: 4 };
        let row = Row {
            node: Some(self.node),
            prompt_tokens: 9,
            cached_tokens: 0,
            completion_tokens: 4,
            nanocredits: price.cost(&tokens).to_bigint(),
            ..Row::at(Uuid::now_v7(), OffsetDateTime::now_utc())
        };
        insert(&self.database, std::slice::from_ref(&row)).await;
        let noted = Noted {
            salt: SALT,
            model: "bagaaiera".to_owned(),
            price,
            price_version: 3,
            is_paid: true,
            is_attached,
            most_prompt_tokens: 20,
            completion_tokens: Some(4),
            request_commitment: SALT.request(b"{}"),
            answer_commitment: Some(SALT.whole_answer(b"{}")),
            authors: vec!["Ada".to_owned(), "Grace".to_owned()],
            client_request: None,
        };
        let noted = serde_json::to_string(&noted).unwrap();
        let expected = [Expected { id: id(&row), node: self.node, noted: &noted }];
        table::expect(&mut self.database.acquire().await.unwrap(), &expected).await.unwrap();
        row
    }

    /// What an honest node says of it.
    fn honest(&self, row: &Row) -> NodeReceipt {
        NodeReceipt {
            v: VERSION,
            node: self.node,
            gateway: "this gateway".to_owned(),
            sequence: self.last.as_ref().map_or(1, |(sequence, _)| sequence + 1),
            previous: self.last.as_ref().map(|(_, digest)| digest.clone()).unwrap_or_default(),
            request: row.id,
            attempt: 1,
            model: "bagaaiera".to_owned(),
            engine: "fp_0".to_owned(),
            prompt_tokens: 9,
            cached_tokens: 0,
            begun_tokens: 0,
            completion_tokens: 4,
            started_at: Microseconds::new(1),
            duration_microseconds: Microseconds::new(1),
            energy: Energy::exact(Microjoules::new(7), (Tier::E, Boundary::Device), "test/1"),
            price: price(),
            seed: 7,
            request_commitment: SALT.request(b"{}"),
            answer_commitment: SALT.whole_answer(b"{}"),
            finish_reason: Some(FinishReason::Stop),
        }
    }

    /// The node sends a receipt. Says how many do not go on from the one before.
    async fn sends(&mut self, receipt: NodeReceipt) -> u64 {
        let statement = self.node_key.sign(&receipt).unwrap();
        self.last = Some((receipt.sequence, jws::digest(&statement)));
        let public_key = self.node_key.public().0.to_vec();
        self.keeps(Received {
            receipt,
            voucher: self.secrets.newest.vouch(&public_key, &statement),
            public_key,
            statement,
        })
        .await
    }

    async fn keeps(&self, received: Received) -> u64 {
        table::keep(&self.database, self.node, &[received]).await.unwrap()
    }

    async fn sign(&self) -> usize {
        let gateways = vec!["this gateway".to_owned(), "its older name".to_owned()];
        let notary = Notary { signer: &self.gateway_key, gateways, secrets: Some(&self.secrets) };
        sign_due(&self.database, &notary).await.unwrap()
    }

    /// What the gateway has signed of a request.
    async fn signed(&self, row: &Row) -> Option<Receipt> {
        let kept = table::of_request(&self.database, row.account, row.id).await.unwrap().pop().unwrap();
        let (token, kid) = kept.signed?;
        assert_eq!((kid.as_str(), kept.id, kept.noted.salt), (self.gateway_key.kid(), id(row), SALT));
        Some(Jws::read(&token).unwrap().verify(&self.gateway_key.public()).unwrap())
    }
}

fn price() -> Price {
    "100,25,400".parse().unwrap()
}

fn id(row: &Row) -> ReceiptId {
    ReceiptId { request: row.id, attempt: 1 }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn node_and_gateway_sign_an_answer_and_every_figure_follows(database: PgPool) {
    let mut scene = Scene::new(database);
    let row = scene.answered(false).await;
    assert_eq!((scene.sign().await, scene.signed(&row).await), (0, None), "the node has not said its part");
    let said = scene.honest(&row);
    assert_eq!(scene.sends(said.clone()).await, 0);
    assert_eq!(scene.sign().await, 1);
    let receipt = scene.signed(&row).await.unwrap();
    assert_eq!(receipt.check(), Ok(Some(said)));
    assert_eq!((receipt.nanocredits.get(), receipt.prompt_tokens, receipt.completion_tokens), (2_500, 9, 4));
    let shares = receipt.shares.unwrap();
    let authors: Nanocredits = shares.authors.iter().map(|share| share.nanocredits).sum();
    assert_eq!((shares.operator + authors + shares.gateway + shares.audit_fund).get(), 2_500);
    assert_eq!(scene.sign().await, 0, "once");
    let left = sqlx::query_scalar!(r#"select count(*) as "count!" from node_receipts"#);
    assert_eq!(left.fetch_one(&scene.database).await.unwrap(), 0, "it is in the receipt");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_lie_is_not_countersigned(database: PgPool) {
    type Lie = fn(&mut NodeReceipt);
    let lies: [Lie; 11] = [
        |said| said.completion_tokens += 1,
        |said| said.prompt_tokens = 21,
        |said| said.gateway = "another gateway".to_owned(),
        |said| said.node = Uuid::now_v7(),
        |said| said.model = "another".to_owned(),
        |said| said.price.completion = Nanocredits::new(401),
        |said| said.request_commitment = SALT.request(b"another"),
        |said| said.answer_commitment = SALT.whole_answer(b"another"),
        |said| said.v = 2,
        |said| said.energy.low_microjoules = said.energy.high_microjoules + Microjoules::new(1),
        |said| said.completion_tokens = u64::MAX,
    ];
    let mut scene = Scene::new(database);
    for lie in lies {
        let row = scene.answered(false).await;
        let mut said = scene.honest(&row);
        lie(&mut said);
        scene.sends(said.clone()).await;
        scene.sign().await;
        let receipt = scene.signed(&row).await.unwrap();
        assert_eq!((receipt.alone, receipt.check()), (Some(Alone::Contradicts), Ok(None)), "{said:?}");
        assert_eq!(receipt.nanocredits.get(), 2_500, "what was delivered is paid all the same");
    }
    let kept = sqlx::query_scalar!(r#"select count(*) as "count!" from node_receipts"#);
    assert_eq!(kept.fetch_one(&scene.database).await.unwrap(), 11, "what the node has said is kept");
}

/// A signature that was found right is not looked at again, so a wrong one with a voucher of ours passes, and no other.
#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_node_s_signature_is_verified_unless_this_gateway_vouches_for_it(database: PgPool) {
    let mut scene = Scene::new(database);
    let strange = [9; 32];
    for (secret, vouched_for, alone) in [
        (SECRET, None, None),
        (strange, None, Some(Alone::Contradicts)),
        (SECRET, Some("another statement"), Some(Alone::Contradicts)),
    ] {
        let row = scene.answered(false).await;
        let receipt = scene.honest(&row);
        let mut statement = scene.node_key.sign(&receipt).unwrap();
        let signature = statement.rfind('.').unwrap() + 1;
        let other = if statement.as_bytes()[signature] == b'A' { "B" } else { "A" };
        statement.replace_range(signature..=signature, other);
        scene.last = Some((receipt.sequence, jws::digest(&statement)));
        let public_key = scene.node_key.public().0.to_vec();
        let vouching = Secrets::derive(&secret).unwrap().newest;
        let voucher = vouching.vouch(&public_key, vouched_for.unwrap_or(&statement));
        scene.keeps(Received { receipt, public_key, statement, voucher }).await;
        scene.sign().await;
        assert_eq!(scene.signed(&row).await.unwrap().alone, alone);
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_gateway_signs_alone_when_the_node_can_not_or_does_not(database: PgPool) {
    let scene = Scene::new(database);
    let (attached, silent) = (scene.answered(true).await, scene.answered(false).await);
    assert_eq!(scene.sign().await, 1);
    assert_eq!(scene.signed(&attached).await.unwrap().alone, Some(Alone::Attached));
    assert_eq!(scene.signed(&silent).await, None, "it may still come");
    sqlx::query!("update receipts set due_at = now() - interval '1 second' where receipt is null")
        .execute(&scene.database)
        .await
        .unwrap();
    assert_eq!(scene.sign().await, 1);
    assert_eq!(scene.signed(&silent).await.unwrap().alone, Some(Alone::NotReceived));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_a_node_sends_twice_counts_once_and_gaps_are_seen(database: PgPool) {
    let mut scene = Scene::new(database);
    let row = scene.answered(false).await;
    let first = scene.honest(&row);
    assert_eq!(scene.sends(first.clone()).await, 0);
    let newest = scene.last.clone();
    assert_eq!(scene.sends(first.clone()).await, 0, "the same once more");
    scene.last = newest;
    let second = NodeReceipt { request: Uuid::now_v7(), ..scene.honest(&row) };
    assert_eq!(scene.sends(NodeReceipt { previous: "0".repeat(64), ..second }).await, 1, "another one's successor");
    let ahead = NodeReceipt { sequence: 9, ..scene.honest(&row) };
    assert_eq!(scene.sends(ahead).await, 1, "some are missing");
    assert_eq!(table::newest(&scene.database, scene.node).await.unwrap(), 9);
    let breaks = sqlx::query_scalar!("select breaks from receipt_chains where node_id = $1", scene.node);
    assert_eq!(breaks.fetch_one(&scene.database).await.unwrap(), 2);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn one_replica_signs_at_a_time_and_nobody_changes_what_is_signed(database: PgPool) {
    let mut scene = Scene::new(database);
    let row = scene.answered(false).await;
    scene.sends(scene.honest(&row)).await;
    let both = tokio::join!(scene.sign(), scene.sign());
    assert_eq!(both.0 + both.1, 1);
    let change = sqlx::query!("update receipts set receipt = 'another' where request_id = $1", row.id);
    let refused = change.execute(&scene.database).await.unwrap_err().to_string();
    assert!(refused.contains("never changed"), "{refused}");
    assert!(table::of_request(&scene.database, Uuid::now_v7(), row.id).await.unwrap().is_empty(), "another account's");
}

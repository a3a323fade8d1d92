//! A gateway's books with made-up requests in them: paid, settled, signed and logged as real ones are.

use fastrand::Rng;
use openapi::price::{BilledTokens, Price};
use openapi::receipt::ReceiptId;
use openapi::receipt::commitment::Salt;
use openapi::receipt::jws::Signer;
use openapi::units::Nanocredits;
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::api::usage::synthetic::{Row, insert};
use crate::inference::record::Noted;
use crate::ledger::settle::{Due, settle};
use crate::ledger::tests::customer;
use crate::log::Log;
use crate::log::tests::open;
use crate::receipts::sign::{Notary, sign_due};
use crate::receipts::table::{Expected, expect};

const SALT: Salt = Salt([5; 32]);
const CREDITS: u64 = 1_000_000 * Nanocredits::PER_CREDIT;
const TIERS: [&str; 3] = ["A", "C", "E"];

/// One gateway, a customer, and nodes of two operators.
pub(crate) struct World {
    pub(crate) database: PgPool,
    pub(crate) log: Log,
    signer: Signer,
    customer: Uuid,
    /// The accounts of the operators.
    pub(crate) operators: [Uuid; 2],
    nodes: [Uuid; 3],
}

/// What stands behind a request.
pub(crate) struct Asked {
    row: Row,
    price: Price,
    authors: Vec<String>,
    tier: &'static str,
}

impl World {
    pub(crate) async fn new(database: PgPool) -> Self {
        let log = open(&database).await;
        let signer = Signer::from_seed(&[2; 32]).unwrap();
        let payer = customer(&database, "payer@example.com", CREDITS).await;
        let operators =
            [customer(&database, "one@example.com", 0).await, customer(&database, "two@example.com", 0).await];
        let nodes = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
        for (node, operator) in nodes.iter().zip([operators[0], operators[0], operators[1]]) {
            let key = node.as_bytes().repeat(2);
            sqlx::query!(
                "insert into nodes (id, account_id, name, public_key) values ($1, $2, 'n', $3)",
                node,
                operator,
                key
            )
            .execute(&database)
            .await
            .unwrap();
        }
        Self { database, log, signer, customer: payer, operators, nodes }
    }

    /// The customer, as a user.
    pub(crate) async fn user(&self) -> Uuid {
        let owner = sqlx::query_scalar!("select id from users where email = 'payer@example.com'");
        owner.fetch_one(&self.database).await.unwrap()
    }

    /// Requests of the last ten days, some free.
    pub(crate) fn ask(&self, count: usize, random: &mut Rng) -> Vec<Asked> {
        let now = OffsetDateTime::now_utc();
        (0..count).map(|_| self.ask_one(now, random)).collect()
    }

    fn ask_one(&self, now: OffsetDateTime, random: &mut Rng) -> Asked {
        let prompt = random.u64(1..2_000);
        let tokens = BilledTokens { prompt, cached: random.u64(0..=prompt), completion: random.u64(0..500) };
        let price = Price {
            prompt: Nanocredits::new(random.u64(0..3) * 101),
            cached: Nanocredits::new(25),
            completion: Nanocredits::new(397),
        };
        let authors: [&[&str]; 3] = [&[], &["Ada"], &["Ada", "Grace", "Joan"]];
        let authors = authors[random.usize(0..3)].iter().map(|author| (*author).to_owned()).collect();
        let number = |count: u64| i64::try_from(count).unwrap();
        let row = Row {
            model: ["m", "n"][random.usize(0..2)].to_owned(),
            node: Some(self.nodes[random.usize(0..3)]),
            prompt_tokens: number(tokens.prompt),
            cached_tokens: number(tokens.cached),
            completion_tokens: number(tokens.completion),
            nanocredits: price.cost(&tokens).to_bigint(),
            microjoules: random.i64(1_000..1_000_000_000),
            ..Row::at(self.customer, now - Duration::milliseconds(random.i64(0..10 * 86_400_000)))
        };
        Asked { row, price, authors, tier: TIERS[random.usize(0..3)] }
    }

    /// Has requests answered, settled, signed and logged.
    pub(crate) async fn serve(&self, asked: &[Asked]) {
        for batch in asked.chunks(500) {
            self.settle(batch).await;
            self.answer(batch).await;
        }
        self.log.append_all(&self.database).await;
    }

    /// The same, only that other authors are paid than the receipts name.
    pub(super) async fn serve_for(&self, asked: &[Asked], author: &str) {
        let author = [author.to_owned()];
        let dues: Vec<Due<'_>> = asked.iter().map(|asked| Due { authors: &author, ..due(asked) }).collect();
        self.book(&dues).await;
        self.answer(asked).await;
        self.log.append_all(&self.database).await;
    }

    async fn answer(&self, asked: &[Asked]) {
        let rows: Vec<Row> = asked.iter().map(|asked| asked.row.clone()).collect();
        insert(&self.database, &rows).await;
        self.measure(asked).await;
        self.sign(asked).await;
    }

    async fn measure(&self, asked: &[Asked]) {
        for Asked { row, tier, .. } in asked {
            sqlx::query!(
                "insert into request_energy (request_id, attempt, node_id, delivered, microjoules, low_microjoules,
                    high_microjoules, marginal_microjoules, prefill_microjoules, idle_microjoules, tier, boundary, method,
                    status, believed, grid_zone, grid_mg_per_kwh, grid_source, grid_basis, pue_milli)
                 values ($1, 1, $2, true, $3::bigint, $3 / 2, $3 + 9, $3 / 3, $3 / 4, $3 / 10, $4, 'node-dc', 'test/1', 'settled', true,
                    'DE', 380123, 's', 'b', 1150)",
                row.id,
                row.node.unwrap(),
                row.microjoules,
                tier
            )
            .execute(&self.database)
            .await
            .unwrap();
        }
    }

    /// Books them as the shipper does.
    pub(super) async fn settle(&self, asked: &[Asked]) {
        self.book(&asked.iter().map(due).collect::<Vec<_>>()).await;
    }

    async fn book(&self, dues: &[Due<'_>]) {
        let mut transaction = self.database.begin().await.unwrap();
        settle(&mut transaction, Uuid::nil(), dues).await.unwrap();
        transaction.commit().await.unwrap();
    }

    async fn sign(&self, asked: &[Asked]) {
        let noted: Vec<String> = asked.iter().map(|asked| serde_json::to_string(&noted(asked)).unwrap()).collect();
        let expected = asked.iter().zip(&noted).map(|(asked, noted)| Expected {
            id: ReceiptId { request: asked.row.id, attempt: 1 },
            node: asked.row.node.unwrap(),
            noted,
        });
        let expected: Vec<Expected<'_>> = expected.collect();
        expect(&mut self.database.acquire().await.unwrap(), &expected).await.unwrap();
        let notary = Notary { signer: &self.signer, gateways: vec!["this gateway".to_owned()], secrets: None };
        assert_eq!(sign_due(&self.database, &notary).await.unwrap(), asked.len());
    }
}

/// Of an answer of a server that signs nothing, so that the gateway's word is enough.
fn noted(asked: &Asked) -> Noted {
    Noted {
        salt: SALT,
        model: asked.row.model.clone(),
        price: asked.price,
        price_version: 3,
        is_paid: true,
        is_attached: true,
        most_prompt_tokens: 9,
        completion_tokens: None,
        request_commitment: SALT.request(b"{}"),
        answer_commitment: None,
        authors: asked.authors.clone(),
        client_request: None,
    }
}

fn due(asked: &Asked) -> Due<'_> {
    Due {
        request: asked.row.id,
        billed_as: asked.row.id,
        account: asked.row.account,
        node: asked.row.node.unwrap(),
        authors: &asked.authors,
        cost: Nanocredits::new(asked.row.nanocredits.unsigned_abs()),
        at: asked.row.at,
    }
}

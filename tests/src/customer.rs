//! Somebody else than the first user: with an account, credits and keys of their own.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Gateway, books};

/// A user with credits.
pub struct Customer {
    pub email: String,
    pub account: Uuid,
    /// For `/v1`.
    pub key: String,
    pub management_key: String,
}

impl Gateway {
    /// Creates a user and tops up the account by these credits, `"0"` for none.
    ///
    /// # Panics
    /// When the gateway refuses.
    pub async fn customer(&self, credits: &str) -> Customer {
        let email = format!("{}@example.org", Uuid::now_v7().simple());
        self.create_user(&email, "a long enough password").await;
        if credits != "0" {
            self.top_up(&email, credits).await;
        }
        let key = self.admin(&["create-key", "--email", &email, "--name", "a key"]).await;
        let management_key =
            self.admin(&["create-key", "--email", &email, "--name", "a management key", "--management"]).await;
        let me = self.client.get(self.url("/api/ledger/balance")).bearer_auth(&management_key).send().await;
        let balance: Value = me.expect("an answer").json().await.expect("JSON");
        let account = balance["account"].as_str().and_then(|id| id.parse().ok()).expect("an account");
        Customer { email, account, key, management_key }
    }

    /// Books credits that somebody has bought.
    pub async fn top_up(&self, email: &str, credits: &str) {
        self.admin(&["top-up", "--email", email, "--credits", credits, "--reason", "bought"]).await;
    }

    /// Makes a key with limits for a customer.
    ///
    /// # Panics
    /// When the gateway refuses.
    pub async fn limited_key(&self, customer: &Customer, limits: &Value) -> String {
        let new = self.client.post(self.url("/api/keys")).bearer_auth(&customer.management_key);
        let made = new.json(&json!({"name": "a limited key", "limits": limits})).send().await.expect("an answer");
        assert_eq!(made.status(), 201);
        let made: Value = made.json().await.expect("JSON");
        made["key"].as_str().expect("a key").to_owned()
    }

    /// Waits until this gateway has shipped what it has, and compares everything in the ledger with everything.
    ///
    /// # Panics
    /// When it does not add up.
    pub async fn audit(&self) {
        books::shipped(self).await;
        assert_eq!(self.admin(&["audit"]).await, "the ledger adds up");
    }
}

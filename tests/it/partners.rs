//! Two gateways that answer each other's users: signed receipts are the invoices, what both owe is offset, and each goes on
//! without the other.

use std::time::Duration;

use openapi::log::entry::{Entry, Kind};
use openapi::netting::{Agreed, Counting, Side};
use openapi::receipt::Receipt;
use openapi::receipt::jws::{self, Jws};
use openapi::verify::{self, Evidence};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Customer, Database, Gateway, MODEL, Node, conversation, eventually};

const SOON: Duration = Duration::from_secs(60);

async fn gateway() -> Gateway {
    let settings = [("COMMONWATT_ALLOWED_NETWORKS", "127.0.0.0/8"), ("COMMONWATT_MINIMUM_PAYOUT", "0.000000001")];
    Gateway::start_with(Database::create().await, &settings).await
}

/// A request of an administrator's program.
async fn manage(gateway: &Gateway, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
    let request = gateway.client.request(method, gateway.url(path)).bearer_auth(&gateway.management_key).json(&body);
    let answer = request.send().await.unwrap();
    (answer.status(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

/// Makes the other one a partner of this one, with a key of the other's if this one is to buy there. Gives its id.
async fn partner(of: &Gateway, other: &Gateway, account: &Customer, key: Option<&str>) -> String {
    let new = json!({"name": "the other", "account": account.account, "url": other.url("/v1"), "key": key});
    let (status, made) = manage(of, Method::POST, "/api/partners", new).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

async fn ask(gateway: &Gateway, key: &str, body: &Value) -> (StatusCode, Value) {
    let asked = gateway.client.post(gateway.url("/v1/chat/completions")).bearer_auth(key).json(body);
    let answer = asked.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn partners_view(gateway: &Gateway) -> Value {
    gateway.get("/api/partners").await["data"][0].clone()
}

async fn invoices(gateway: &Gateway, partner: &str) -> Vec<Value> {
    gateway.get(&format!("/api/partners/{partner}/invoices")).await["data"].as_array().unwrap().clone()
}

/// Waits until the receipts of so many answers were read.
async fn billed(gateway: &Gateway, partner: &str, count: usize) -> Vec<Value> {
    eventually("what the partner bills", SOON, || async {
        Some(invoices(gateway, partner).await).filter(|invoices| invoices.len() == count)
    })
    .await
}

async fn close(gateway: &Gateway) {
    let (status, closed) = manage(gateway, Method::POST, "/api/epochs", json!({})).await;
    assert_eq!(status, StatusCode::CREATED, "{closed}");
}

fn nanocredits(money: &Value) -> i64 {
    money["nanocredits"].as_i64().unwrap_or_else(|| panic!("{money}"))
}

/// Nets once the partner's receipts were read up to its closed epoch, and gives what was netted.
async fn net(gateway: &Gateway, partner: &str) -> Value {
    let path = format!("/api/partners/{partner}/nettings");
    eventually("a netting", SOON, || async {
        let (status, netted) = manage(gateway, Method::POST, &path, json!({})).await;
        match status {
            StatusCode::CREATED => Some(netted["data"][0].clone()),
            // The one that the gateways made by themselves.
            _ => gateway.get(&path).await["data"].get(0).cloned(),
        }
    })
    .await
}

async fn text(gateway: &Gateway, path: &str) -> String {
    let answer = gateway.client.get(gateway.url(path)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.text().await.unwrap()
}

/// All receipts of an account, as their owner gets them.
async fn receipts(gateway: &Gateway, key: &str) -> Vec<Value> {
    let (mut after, mut all) = (0, Vec::new());
    loop {
        let path = format!("/v1/receipts?after={after}&limit=1");
        let page = gateway.client.get(gateway.url(&path)).bearer_auth(key).send().await.unwrap();
        let page: Value = page.json().await.unwrap();
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        let next = page["next"].as_u64().unwrap();
        if next == after {
            return all;
        }
        after = next;
    }
}

async fn keys(gateway: &Gateway) -> (String, Vec<openapi::log::ed25519::PublicKey>) {
    let set = text(gateway, "/.well-known/jwks.json").await;
    let read: Value = serde_json::from_str(&set).unwrap();
    let keys = read["keys"].as_array().unwrap().iter().map(|key| jws::public_key(key["x"].as_str().unwrap()).unwrap());
    let keys = keys.collect();
    (set, keys)
}

/// One gateway that buys from another one, which has the node; a customer of the first; and what each is to the other.
struct Trade {
    front: Gateway,
    back: Gateway,
    _node: Node,
    user: Customer,
    at_front: Customer,
    at_back: Customer,
    bought: String,
    sold: String,
}

impl Trade {
    /// Only the front buys.
    async fn begin() -> Self {
        let (front, back) = (gateway().await, gateway().await);
        let node = Node::join(&back, &["--price", "100,10,400"]).await;
        let (at_back, at_front) = (back.customer("1").await, front.customer("0").await);
        let bought = partner(&front, &back, &at_front, Some(&at_back.key)).await;
        let sold = partner(&back, &front, &at_back, None).await;
        let user = front.customer("1").await;
        eventually("the partner's model", SOON, || async {
            let models = front.client.get(front.url("/v1/models")).bearer_auth(&user.key).send().await.unwrap();
            let models: Value = models.json().await.unwrap();
            models["data"].as_array().unwrap().iter().any(|model| model["id"] == MODEL).then_some(())
        })
        .await;
        Self { front, back, _node: node, user, at_front, at_back, bought, sold }
    }

    /// The user gets two answers, one of them streamed.
    async fn answer(&self) {
        let (status, answer) = ask(&self.front, &self.user.key, &conversation(json!({}))).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let stream = self.front.client.post(self.front.url("/v1/chat/completions")).bearer_auth(&self.user.key);
        let stream = stream.json(&conversation(json!({"stream": true}))).send().await.unwrap().text().await.unwrap();
        assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    }

    /// What is bought is not sold on to a partner, nor to who wants to stay at home.
    async fn refuse(&self) {
        let mine = self.front.client.get(self.front.url("/v1/models")).bearer_auth(&self.at_front.key);
        let mine: Value = mine.send().await.unwrap().json().await.unwrap();
        assert_eq!(mine["data"], json!([]));
        let (status, refused) = ask(&self.front, &self.at_front.key, &conversation(json!({}))).await;
        assert!(status.is_client_error() || status.is_server_error(), "{refused}");
        let at_home = conversation(json!({"provider": {"partners": false}}));
        let (status, refused) = ask(&self.front, &self.user.key, &at_home).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("nodes of this gateway itself"), "{refused}");
    }

    /// The user's receipts have the partner's in them, and its node's energy.
    async fn own_receipts(&self, billed: &[Value]) {
        let own = eventually("the user's receipts", SOON, || async {
            Some(receipts(&self.front, &self.user.key).await).filter(|receipts| receipts.len() == 2)
        })
        .await;
        let (set, _) = keys(&self.front).await;
        for (file, invoice) in own.iter().zip(billed) {
            let (receipt, says) = verified(file, &set);
            assert!(says.contains("Another gateway has answered"), "{says}");
            assert_eq!(
                (&json!(receipt.id), &json!(receipt.partner_receipt)),
                (&invoice["attempt"], &invoice["receipt"])
            );
            let within = receipt.check_partner().unwrap().unwrap();
            let figures = |receipt: &Receipt| receipt.energy.as_ref().map(|energy| (energy.microjoules, energy.tier));
            assert_eq!(figures(&receipt), figures(&within), "the energy is what the node's gateway says");
        }
    }

    /// Behind each invoice is a receipt of the partner's with its node's own word; and what they come to.
    async fn counted(&self, billed: &[Value]) -> Side {
        let (set, _) = keys(&self.back).await;
        let issued = receipts(&self.back, &self.at_back.key).await;
        assert_eq!(issued.len(), 2);
        let mut counting = Counting::begin("", (0, u64::MAX));
        for (file, invoice) in issued.iter().zip(billed) {
            assert_eq!((&file["client_request_id"], &file["receipt"]), (&invoice["attempt"], &invoice["receipt"]));
            let (receipt, says) = verified(file, &set);
            assert!(receipt.node_receipt.is_some(), "{says}");
            let leaf = Entry::of(Kind::Receipt, file["receipt"].as_str().unwrap().as_bytes()).leaf();
            counting.count(file["index"].as_u64().unwrap(), leaf, Some(receipt.nanocredits));
        }
        counting.end()
    }

    /// Both have signed and published what the receipts come to.
    async fn net(&self, owed: i64, counted: &Side) {
        close(&self.front).await;
        close(&self.back).await;
        let netted = net(&self.front, &self.bought).await;
        assert_eq!((nanocredits(&netted["we_owe"]), nanocredits(&netted["they_owe"])), (owed, 0), "{netted}");
        let same = self.back.get(&format!("/api/partners/{}/nettings", self.sold)).await["data"][0].clone();
        assert_eq!((&same["document"], &same["they_owe"]), (&netted["document"], &netted["we_owe"]), "{same}");
        let path = format!("/log/document/{}", netted["document"].as_str().unwrap());
        let document = text(&self.front, &path).await;
        assert_eq!(document, text(&self.back, &path).await);
        let agreed = Agreed::read(&document, &keys(&self.front).await.1, &keys(&self.back).await.1).unwrap();
        let side = agreed.sides.iter().find(|side| side.receipts > 0).unwrap();
        assert_eq!((side.receipts, &side.root, side.nanocredits), (2, &counted.root, counted.nanocredits));
        let rest = agreed.rest().unwrap();
        assert_eq!((rest.nanocredits, rest.payee.as_str()), (counted.nanocredits, side.gateway.as_str()));
    }
}

/// A receipt that holds by these keys, and what is said of it.
fn verified(file: &Value, keys: &str) -> (Receipt, String) {
    let bytes = serde_json::to_vec(file).unwrap();
    let evidence = Evidence { receipt: &bytes, keys: Some(keys.as_bytes()), ..Evidence::default() };
    let verdict = verify::receipt(&evidence).unwrap();
    assert!(verdict.holds, "{verdict:?}");
    let receipt = Jws::read(file["receipt"].as_str().unwrap()).unwrap().claimed().unwrap();
    (receipt, format!("{:?}", verdict.findings))
}

#[tokio::test]
async fn a_user_of_one_gateway_is_answered_by_a_node_of_another_and_the_books_of_both_agree() {
    let mut trade = Trade::begin().await;
    trade.answer().await;
    trade.refuse().await;
    // What is billed is what was asked, and is owed to the last nanocredit.
    let billed = billed(&trade.front, &trade.bought, 2).await;
    assert!(billed.iter().all(|one| one["dispute"].is_null() && !one["attempt"].is_null()), "{billed:?}");
    let owed: i64 = billed.iter().map(nanocredits).sum();
    assert!(owed > 0);
    assert_eq!(nanocredits(&partners_view(&trade.front).await["earned"]), owed);
    let spent = 1_000_000_000 - nanocredits(&partners_view(&trade.back).await["credit"]);
    assert_eq!(spent, owed, "what one owes is what the other has been paid");
    trade.own_receipts(&billed).await;
    let counted = trade.counted(&billed).await;
    trade.net(owed, &counted).await;

    // What is left is paid with the next epoch, like any operator.
    close(&trade.front).await;
    let payouts = trade.front.get("/api/payouts?state=due").await;
    let due: Vec<i64> = payouts["data"].as_array().unwrap().iter().map(nanocredits).collect();
    assert_eq!(due, [owed], "{payouts}");
    trade.front.audit().await;
    trade.back.audit().await;

    // The front is gone: whoever is the other's user does not notice.
    trade.front.kill().await;
    let (status, answer) = ask(&trade.back, &trade.back.key, &conversation(json!({}))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    trade.back.audit().await;
}

#[tokio::test]
async fn what_both_owe_each_other_is_offset_and_can_be_spent_again() {
    let (one, mut other) = (gateway().await, gateway().await);
    let _nodes = (Node::join(&one, &["--price", "50,50,50"]).await, Node::join(&other, &["--price", "70,70,70"]).await);
    let (at_other, at_one) = (other.customer("1").await, one.customer("1").await);
    let of_one = partner(&one, &other, &at_one, Some(&at_other.key)).await;
    let of_other = partner(&other, &one, &at_other, Some(&at_one.key)).await;

    // Each asks the other's node by its name.
    let user = one.customer("1").await;
    let through = |name: &str, more: u64| conversation(json!({"max_tokens": more, "provider": {"only": [name]}}));
    for (front, key, count) in [(&one, &user.key, 8), (&other, &other.key, 16)] {
        eventually("the partner answers", SOON, || async {
            (ask(front, key, &through("the other", count)).await.0 == StatusCode::OK).then_some(())
        })
        .await;
    }
    let owed = nanocredits(&billed(&one, &of_one, 1).await[0]);
    let earned = nanocredits(&billed(&other, &of_other, 1).await[0]);
    close(&one).await;
    close(&other).await;
    let netted = eventually("both to agree", SOON, || async {
        let netted = one.get(&format!("/api/partners/{of_one}/nettings")).await["data"].get(0).cloned()?;
        let same = other.get(&format!("/api/partners/{of_other}/nettings")).await["data"].get(0).cloned()?;
        (same["document"] == netted["document"]).then_some(netted)
    })
    .await;
    assert_eq!((nanocredits(&netted["we_owe"]), nanocredits(&netted["they_owe"])), (owed, earned), "{netted}");
    let offset = owed.min(earned);
    assert_eq!(nanocredits(&netted["offset"]), offset);
    for (gateway, mine, theirs) in [(&one, owed, earned), (&other, earned, owed)] {
        let view = partners_view(gateway).await;
        assert_eq!(nanocredits(&view["earned"]), mine - offset, "{view}");
        assert_eq!(nanocredits(&view["credit"]), 1_000_000_000 - theirs + offset, "{view}");
        gateway.audit().await;
    }
    let again = manage(&one, Method::POST, &format!("/api/partners/{of_one}/nettings"), json!({})).await;
    assert_eq!(again.0, StatusCode::CONFLICT, "nothing is netted twice: {}", again.1);

    // One of them is gone, with all its nodes: the other's users have its own.
    other.kill().await;
    let (status, answer) = ask(&one, &user.key, &conversation(json!({}))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

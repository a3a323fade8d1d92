//! What a gateway closes, audited from outside, over the network and over a copy.

use std::future::IntoFuture;

use axum::routing::get;
use fastrand::Rng;
use openapi::receipt::KEYS_PATH;
use openapi::receipt::jws::Signer;
use openapi::units::Nanocredits;
use serde_json::json;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::net::TcpListener;

use super::epochs::told;
use super::serving::Folder;
use crate::app::App;
use crate::epochs::Epochs;
use crate::epochs::tests::world::World;
use crate::ledger::account::Account;
use crate::ledger::movement::{Movement, Order, move_credits};
use crate::ledger::split;
use crate::log::tests::app;
use crate::log::{self, Kind};
use crate::receipts::keys;

async fn serve(app: App) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = log::routes::routes().route(KEYS_PATH, get(keys::list)).with_state(app);
    tokio::spawn(axum::serve(listener, routes).into_future());
    format!("http://{address}")
}

async fn close_now(world: &World) {
    let epochs = Epochs::new(0, Nanocredits::ZERO);
    epochs.close(&world.database, &world.log, OffsetDateTime::now_utc()).await.unwrap().unwrap();
    world.log.append_all(&world.database).await;
}

/// Which findings don't hold.
fn failing(text: &str) -> Vec<&str> {
    let failing = text.lines().filter_map(|line| line.strip_prefix("✗ "));
    failing.filter_map(|line| line.split_whitespace().next()).collect()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_a_gateway_closes_comes_out_of_its_log(database: PgPool) {
    let (world, mut random) = (World::new(database.clone()).await, Rng::with_seed(11));
    split::announce(&database).await.unwrap();
    let signer = Signer::from_seed(&[2; 32]).unwrap();
    let x = data_encoding::BASE64URL_NOPAD.encode(&signer.public().0);
    let key = json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": signer.kid(), "x": x}).to_string();
    log::publish(&mut database.acquire().await.unwrap(), Kind::Key, &[key]).await.unwrap();
    world.log.append_all(&database).await;
    world.serve(&world.ask(300, &mut random)).await;
    close_now(&world).await;
    let order = Order { idempotency_key: "by hand", reason: "by hand", created_by: None };
    let payout = Movement::Payout(Account::Operator(world.operators[0]));
    move_credits(&database, &payout, Nanocredits::new(1_000), order).await.unwrap();
    world.serve(&world.ask(200, &mut random)).await;
    close_now(&world).await;
    let gateway = serve(app(&database).await).await;
    for (number, receipts) in [("1", "300 receipts"), ("2", "200 receipts")] {
        let (text, ending) = told(&["epoch", &gateway, "--epoch", number]).await;
        // These receipts name a price that nobody has set.
        assert_eq!((failing(&text), ending), (vec!["prices"], 1), "{text}");
        assert!(text.contains("byte for byte") && text.contains(&format!("✓ totals     {receipts}")), "{text}");
    }
    let copy = Folder::new();
    let (text, ending) = told(&["copy", &gateway, copy.path()]).await;
    assert!(ending == 0 && text.contains("and 2 epochs"), "{text}");
    assert_eq!(told(&["epoch", copy.path()]).await, told(&["epoch", &gateway]).await);
    let (text, _) = told(&["epoch", &gateway, "--sample", "10", "--seed", "a"]).await;
    assert!(text.contains("of 200 receipts were read, one in 10"), "{text}");
}

//! A database of its own for each test, on the server in `DATABASE_URL`.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use std::str::FromStr;
use uuid::Uuid;

/// A fresh database.
pub struct Database {
    pub url: String,
    pub pool: PgPool,
}

impl Database {
    /// Creates an empty database.
    ///
    /// # Panics
    /// When there is no server: run the tests with `make test`.
    pub async fn create() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one setting of the tests")]
        let server = std::env::var("DATABASE_URL").expect("DATABASE_URL is set by `make test`");
        let name = format!("it_{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect(&server).await.expect("the test server answers");
        connection.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await.expect("a superuser");
        Self::at(&on_database(&server, &name)).await
    }

    /// A database that is there.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn at(url: &str) -> Self {
        let options = PgConnectOptions::from_str(url).expect("a Postgres address");
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(options);
        Self { url: url.to_owned(), pool }
    }
}

/// The same server, another database.
fn on_database(server: &str, name: &str) -> String {
    let mut url = url::Url::parse(server).expect("DATABASE_URL is a URL");
    url.set_path(name);
    url.to_string()
}

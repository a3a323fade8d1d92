//! The ledger adds up, nobody is overdrawn, and what replicas lease is there.

use crate::Database;

/// Queries whose answer has to be 0, and what another answer means.
const ZERO: &[(&str, &str)] = &[
    (
        "events do not add up to zero",
        "select count(*) from (select from postings group by event_id having sum(nanocredits) <> 0) as uneven",
    ),
    ("nanocredits are too many or too few", "select coalesce(sum(nanocredits), 0)::bigint from postings"),
    (
        "balances differ from their postings",
        "select count(*) from balances b full join
            (select account, sum(nanocredits) as nanocredits from postings group by account) p using (account)
         where coalesce(b.nanocredits, 0) <> coalesce(p.nanocredits, 0)",
    ),
    ("customers are overdrawn", "select count(*) from balances where account like 'customer:%' and nanocredits < 0"),
    (
        "requests and settlements differ",
        "select count(*) from requests r full join
            (select e.request_id as id, -sum(p.nanocredits) as nanocredits from events e
             join postings p on p.event_id = e.id and p.account like 'customer:%'
             where e.kind = 'settlement' group by e.request_id) s using (id)
         where coalesce(r.nanocredits, 0) <> coalesce(s.nanocredits, 0)",
    ),
    (
        "requests are settled twice",
        "select count(*) from (select from events where kind = 'settlement' group by request_id having count(*) > 1) as twice",
    ),
    (
        "accounts have more credit leased than they own",
        "select count(*) from (select account_id, sum(nanocredits) as leased from credit_leases group by account_id) l
         left join balances b on b.account = 'customer:' || l.account_id where l.leased > coalesce(b.nanocredits, 0)",
    ),
];

/// Says what does not add up.
pub(super) async fn check(database: &Database) -> Vec<String> {
    let mut wrong = Vec::new();
    for (meaning, query) in ZERO {
        let count = number(database, query).await;
        if count != 0 {
            wrong.push(format!("{count} {meaning}"));
        }
    }
    wrong
}

/// What lies leased, of credit and of limits, and how much of the limits without a window is taken: all 0 when every
/// gateway has stopped in good order.
pub async fn leases_left(database: &Database) -> [i64; 3] {
    [
        number(database, "select count(*) from credit_leases where nanocredits > 0").await,
        number(database, "select count(*) from allowance_leases where amount > 0").await,
        number(database, "select coalesce(sum(taken), 0)::bigint from allowances where window_start = 'epoch'").await,
    ]
}

/// Answers whose receipt is not in the log yet.
pub async fn unsigned(database: &Database) -> i64 {
    number(database, "select (select count(*) from receipts where receipt is null) + (select count(*) from log_queue)")
        .await
}

/// What the user of this address owns, in nanocredits.
pub async fn balance(database: &Database, email: &str) -> i64 {
    let of_user = "select coalesce(sum(b.nanocredits), 0)::bigint from users u
        join members m on m.user_id = u.id join balances b on b.account = 'customer:' || m.account_id where u.email = ";
    number(database, &format!("{of_user}'{email}'")).await
}

/// What a query counts.
#[expect(clippy::disallowed_methods, reason = "what a test asks the database is asked nowhere else")]
pub async fn number(database: &Database, query: &str) -> i64 {
    let (number,): (i64,) =
        sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_one(&database.pool).await.expect("a number");
    number
}

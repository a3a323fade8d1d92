//! What may be an alias, and how the table is kept.

use super::*;
use crate::auth::user;

fn table(pairs: &[(&str, &str)]) -> Table {
    pairs.iter().map(|(alias, model)| ((*alias).to_owned(), (*model).to_owned())).collect()
}

fn is_known(model: &str) -> bool {
    ["small", "large"].contains(&model)
}

#[test]
fn whatever_people_are_used_to_send_can_be_an_alias() {
    for alias in ["gpt-4o-mini", "openai/gpt-4o", "ft:gpt-4o:acme::1", "claude-3.5@latest", "4o", &"a".repeat(100)] {
        assert_eq!(check(&table(&[]), (alias, "small"), is_known), Ok(()), "{alias}");
    }
    for wrong in ["", " a", "a b", "-a", "/a", "ä", "a\n", "a?", &"a".repeat(101)] {
        assert_eq!(check(&table(&[]), (wrong, "small"), is_known), Err(NoAlias::NotAName), "{wrong:?}");
    }
}

#[test]
fn an_alias_neither_hides_a_model_nor_stands_for_anything_else_than_one() {
    let aliases = table(&[("a", "small")]);
    let address = ModelManifest { name: "other".to_owned(), ..ModelManifest::default() }.id();
    for hidden in ["large", &address] {
        let no = check(&aliases, (hidden, "small"), is_known);
        assert_eq!(no, Err(NoAlias::HidesAModel(hidden.to_owned())));
    }
    let loops = check(&aliases, ("b", "a"), is_known);
    assert_eq!(loops, Err(NoAlias::OfAnAlias { alias: "a".to_owned(), model: "small".to_owned() }));
    assert!(loops.unwrap_err().to_string().contains("'small'"), "it says what to name instead");
    assert_eq!(check(&aliases, ("b", "b"), is_known), Err(NoAlias::OfItself("b".to_owned())));
    assert_eq!(check(&aliases, ("b", "nothing"), is_known), Err(NoAlias::OfNothing("nothing".to_owned())));
    assert_eq!(check(&aliases, ("a", "large"), is_known), Ok(()), "it may come to stand for another one");
    let taken = table(&[("small", "large")]);
    assert_eq!(
        check(&taken, ("small", "large"), is_known),
        Ok(()),
        "a model that came later keeps nothing from changing it"
    );
}

#[test]
fn there_are_only_so_many() {
    let full: Table = (0..MOST).map(|number| (format!("a{number}"), "small".to_owned())).collect();
    assert_eq!(check(&full, ("b", "small"), is_known), Err(NoAlias::TooMany));
    assert_eq!(check(&full, ("a0", "large"), is_known), Ok(()));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_is_set_is_read_by_every_replica_and_announced(database: PgPool) {
    let (_, user) = user::somebody(&database).await;
    let replicas = [Aliases::open(&database).await.unwrap(), Aliases::open(&database).await.unwrap()];
    let [one, two] = &replicas;
    table::set(&database, "b", "small", user).await.unwrap();
    table::set(&database, "a", "small", user).await.unwrap();
    let row = table::set(&database, "b", "large", user).await.unwrap();
    assert_eq!((row.alias.as_str(), row.model.as_str()), ("b", "large"));
    assert_eq!(one.stands_for("b"), None, "not read yet");
    for replica in &replicas {
        replica.reload(&database).await.unwrap();
        assert_eq!(*replica.all(), table(&[("a", "small"), ("b", "large")]));
    }
    assert!(table::remove(&database, "a").await.unwrap() && !table::remove(&database, "a").await.unwrap());
    two.reload(&database).await.unwrap();
    assert_eq!((two.stands_for("a"), two.stands_for("b")), (None, Some("large".to_owned())));
    let announced = sqlx::query_scalar!(r#"select count(*) as "count!" from changes where kind = 'aliases'"#);
    assert_eq!(announced.fetch_one(&database).await.unwrap(), 4, "each change once, and none for what was not there");
}

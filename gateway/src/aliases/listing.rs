//! What can be asked, under every name that it has.

use openapi::model::Model;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Table;
use crate::app::App;
use crate::auth::key::Key;

/// The models that connected nodes serve to this account, with what these ask for them now.
fn offered(app: &App, account: Uuid) -> Vec<Model> {
    let now = OffsetDateTime::now_utc();
    let own_alone = app.partners.asks_as(account);
    let counts = |node| !(own_alone && app.partners.answers_as(node));
    app.nodes.models(counts, |node, model| app.prices.of(node, model, now).map(|version| version.price))
}

/// All that may be asked now with this key: models, then aliases.
pub fn allowed(app: &App, key: &Key) -> Vec<Model> {
    under_all_names(&offered(app, key.account), &app.aliases.all(), |name| key.limits.allow_model(name))
}

/// What this account asks under this name, if that can be asked now.
pub fn find(app: &App, account: Uuid, name: &str) -> Option<Model> {
    let meant = app.aliases.stands_for(name);
    let model = named(&offered(app, account), meant.as_deref().unwrap_or(name)).cloned()?;
    Some(match meant {
        Some(_) => alias(name, model),
        None => model,
    })
}

fn named<'a>(offered: &'a [Model], name: &str) -> Option<&'a Model> {
    offered.iter().find(|model| model.id == name || model.manifest == name)
}

fn under_all_names(offered: &[Model], aliases: &Table, may_ask: impl Fn(&str) -> bool) -> Vec<Model> {
    let own = offered.iter().filter_map(|model| {
        // Allowed, or not hidden by an alias, under its content address alone: then that is what to ask for.
        let names = [&model.id, &model.manifest].into_iter();
        let name = names.filter(|name| !aliases.contains_key(*name)).find(|name| may_ask(name))?;
        Some(Model { id: name.clone(), ..model.clone() })
    });
    let others = aliases.iter().filter(|(_, model)| may_ask(model));
    let others = others.filter_map(|(name, model)| Some(alias(name, named(offered, model)?.clone())));
    own.chain(others).collect()
}

/// A model under an alias.
fn alias(name: &str, model: Model) -> Model {
    Model { alias_of: Some(model.id), id: name.to_owned(), ..model }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> Model {
        Model::new(name.to_owned(), 1, String::new(), format!("address of {name}"), 8)
    }

    /// Names, and what they stand for.
    fn listed(aliases: &[(&str, &str)], may_ask: impl Fn(&str) -> bool) -> Vec<(String, Option<String>)> {
        let aliases = aliases.iter().map(|(alias, model)| ((*alias).to_owned(), (*model).to_owned())).collect();
        let listed = under_all_names(&[model("one"), model("two")], &aliases, may_ask);
        listed.into_iter().map(|model| (model.id, model.alias_of)).collect()
    }

    fn plain(name: &str) -> (String, Option<String>) {
        (name.to_owned(), None)
    }

    fn other(name: &str, of: &str) -> (String, Option<String>) {
        (name.to_owned(), Some(of.to_owned()))
    }

    #[test]
    fn aliases_are_listed_with_what_they_stand_for() {
        let aliases = [("b", "address of two"), ("a", "one"), ("gone", "three")];
        assert_eq!(listed(&aliases, |_| true), [plain("one"), plain("two"), other("a", "one"), other("b", "two")]);
    }

    #[test]
    fn who_may_not_ask_a_model_does_not_see_its_aliases() {
        let aliases = [("a", "one"), ("b", "two")];
        assert_eq!(listed(&aliases, |name| name == "two"), [plain("two"), other("b", "two")]);
        assert_eq!(listed(&aliases, |name| name == "a"), [], "an alias is not what can be allowed");
        assert_eq!(listed(&[], |name| name == "address of one"), [plain("address of one")]);
    }

    #[test]
    fn a_model_with_the_name_of_an_alias_is_asked_by_its_content_address() {
        let names = listed(&[("two", "one")], |_| true);
        assert_eq!(names, [plain("one"), plain("address of two"), other("two", "one")]);
    }
}

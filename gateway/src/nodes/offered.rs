//! Which models can be asked now, of all that connected nodes serve.

use std::collections::BTreeMap;

use openapi::author::Author;
use openapi::model::Model;
use openapi::price::Price;
use uuid::Uuid;

use super::Nodes;

impl Nodes {
    /// The models that can be asked now of the nodes that count, by name. `price` says what a node asks for a model, by its
    /// content address.
    pub fn models(&self, counts: impl Fn(Uuid) -> bool, price: impl Fn(Uuid, &str) -> Option<Price>) -> Vec<Model> {
        let mut models: BTreeMap<String, Model> = BTreeMap::new();
        for node in self.all().into_iter().filter(|node| counts(node.id)) {
            let way = node.best();
            for served in way.models() {
                let model = models.entry(served.name.clone()).or_insert_with(|| {
                    let authors: Vec<&str> = served.authors.iter().map(|author| Author::read(author).name).collect();
                    let (name, id) = (served.name.clone(), served.id.clone());
                    Model::new(name, way.connected_at, authors.join(", "), id, served.context_length)
                        .of_kind(served.kind)
                });
                model.add_node(served.context_length, price(node.id, &served.id));
            }
        }
        models.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openapi::units::Nanocredits;

    use super::*;
    use crate::nodes::scripted::{MODEL, Scripted};

    #[tokio::test]
    async fn a_model_is_listed_once_with_its_nodes_and_what_they_ask() {
        let nodes = Nodes::default();
        let scripted = [Scripted::new(), Scripted::new(), Scripted::new()];
        let mut ways = Vec::new();
        for node in &scripted {
            let (way, open) = node.dial().await;
            nodes.add(node.id, Arc::clone(&way));
            ways.push((way, open));
        }
        // Of one it is not known.
        let asks = |node, prompt, completion| (node, Price { prompt, cached: Nanocredits::ZERO, completion });
        let [one, two] = [(0, 5, 7), (1, 3, 9)].map(|(at, prompt, completion): (usize, u64, u64)| {
            asks(scripted[at].id, Nanocredits::new(prompt), Nanocredits::new(completion))
        });
        let price = |node, _: &str| [one, two].into_iter().find(|(id, _)| *id == node).map(|(_, price)| price);
        let models = nodes.models(|_| true, price);
        assert_eq!(models.len(), 1);
        assert_eq!((models[0].id.as_str(), models[0].nodes, models[0].context_length), (MODEL, Some(3), 512));
        let prices = models[0].prices.unwrap();
        assert_eq!((prices.lowest.prompt.get(), prices.lowest.completion.get()), (3, 7));
        assert_eq!((prices.highest.prompt.get(), prices.highest.completion.get()), (5, 9));
        assert_eq!(nodes.models(|_| true, |_, _| None)[0].prices, None);
    }
}

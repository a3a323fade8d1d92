//! Who bears which name, so that nodes that a request names are found without a look at all of them.

use std::collections::HashMap;

use uuid::Uuid;

use super::Name;

/// Places by what a request may call the nodes there.
#[derive(Debug, Default)]
pub struct Names {
    /// The node's own, and its operator's.
    ids: HashMap<Uuid, Vec<u32>>,
    /// Without capitals.
    texts: HashMap<String, Vec<u32>>,
}

impl Names {
    /// Id, operator and name of each node.
    pub fn new<'a>(nodes: impl Iterator<Item = (Uuid, Uuid, &'a str)>) -> Self {
        let mut names = Self::default();
        for ((node, operator, text), place) in nodes.zip(0..) {
            names.ids.entry(node).or_default().push(place);
            names.ids.entry(operator).or_default().push(place);
            names.texts.entry(Name::folded(text)).or_default().push(place);
        }
        names
    }

    /// Places of all that a name may mean.
    pub fn of(&self, name: &Name) -> Vec<u32> {
        let places = match name {
            Name::Id(id) => self.ids.get(id),
            Name::Text(text) => self.texts.get(&Name::folded(text)),
        };
        places.cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_the_node_to_all_of_its_operator_or_to_those_that_are_called_so() {
        let id = Uuid::from_u128;
        let nodes = [(id(1), id(100), "Alpha"), (id(2), id(100), "beta"), (id(3), id(101), "ALPHA")];
        let names = Names::new(nodes.into_iter());
        assert_eq!(names.of(&Name::Id(id(2))), [1]);
        assert_eq!(names.of(&Name::Id(id(100))), [0, 1]);
        assert_eq!(names.of(&Name::Text("alpha".into())), [0, 2]);
        assert!(names.of(&Name::Text("gamma".into())).is_empty() && names.of(&Name::Id(id(9))).is_empty());
    }
}

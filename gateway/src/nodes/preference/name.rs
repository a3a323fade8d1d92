//! Which nodes a name means.

use std::fmt::{self, Display, Formatter};

use uuid::Uuid;

use super::filter::Attributes;

/// A node or an operator, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// The id of a node, or of an operator's account: all of its nodes. A node that is only called so is not meant.
    Id(Uuid),
    /// What the operator calls the node, in small or capital letters. Nobody owns such a name: who has to be sure of a
    /// node gives its id.
    Text(String),
}

impl Name {
    /// Takes the usual form of a UUID, with hyphens, for an id and all else for a name.
    pub(super) fn new(text: &str) -> Self {
        const HYPHENATED: usize = 36;
        let id = Uuid::try_parse(text).ok().filter(|_| text.len() == HYPHENATED);
        id.map_or_else(|| Self::Text(text.to_owned()), Self::Id)
    }

    /// A name without capitals: the same for all that mean the same.
    pub(super) fn folded(text: &str) -> String {
        text.chars().flat_map(char::to_lowercase).collect()
    }

    /// True when it means this node.
    pub fn is(&self, node: &Attributes<'_>) -> bool {
        match self {
            Self::Id(id) => *id == node.node || *id == node.operator,
            Self::Text(text) => is_same(text, node.name),
        }
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Compares without regard to case and without a copy of either.
fn is_same(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one.eq_ignore_ascii_case(other);
    }
    one.chars().flat_map(char::to_lowercase).eq(other.chars().flat_map(char::to_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn only_the_usual_form_of_a_uuid_is_an_id() {
        let id = Uuid::parse_str(ID).unwrap();
        assert_eq!(Name::new(ID), Name::Id(id));
        assert_eq!(Name::new(&ID.to_uppercase()), Name::Id(id));
        for text in [&ID.replace('-', ""), &format!("{{{ID}}}"), &format!("urn:uuid:{ID}"), "alpha", &ID[1..]] {
            assert_eq!(Name::new(text), Name::Text(text.to_owned()));
        }
    }

    #[test]
    fn an_id_means_the_node_and_all_nodes_of_the_operator_and_no_node_that_is_called_so() {
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let named = mine.to_string();
        let node = |node, operator| Attributes { node, operator, name: &named, ..Attributes::default() };
        assert!(Name::Id(mine).is(&node(mine, other)));
        assert!(Name::Id(mine).is(&node(other, mine)));
        assert!(!Name::Id(mine).is(&node(other, other)));
    }

    #[test]
    fn case_makes_no_difference_in_any_alphabet() {
        for (one, other) in [("Alpha", "aLPHA"), ("GRÜN", "grün"), ("ΩΜΕΓΑ", "ωμεγα"), ("Кот", "кОТ")]
        {
            assert!(is_same(one, other) && Name::folded(one) == Name::folded(other), "{one}");
        }
        for (one, other) in [("alpha", "alph"), ("alpha", "alpha "), ("grün", "grun"), ("", "a")] {
            assert!(!is_same(one, other) && Name::folded(one) != Name::folded(other), "{one}");
        }
    }
}

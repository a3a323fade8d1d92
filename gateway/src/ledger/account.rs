//! The accounts of the ledger, as a type and as the text that the tables hold.

use std::fmt;
use std::str::FromStr;

use openapi::author::{self, Author};
use uuid::Uuid;

/// Where credits can be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Account {
    /// What an account may spend.
    Customer(Uuid),
    /// What an account's nodes have earned.
    Operator(Uuid),
    /// What a model's author has earned; see [`Account::author`].
    Author(String),
    /// The gateway's own.
    Gateway,
    /// Pays for checking nodes.
    AuditFund,
    /// What was delivered and could not be paid.
    Losses,
    /// The world outside, where credits are bought and paid out. Below zero by all that is inside.
    External,
}

impl Account {
    /// The account of an author as a manifest names them: cut to what the ledger holds, which the table's constraint says too.
    /// `None` for a name of nothing. What is cut is nobody's with a key, even if it happens to end like one's.
    pub fn author(name: &str) -> Option<Self> {
        let mut rest = name.trim().chars().filter(|character| *character != '\0');
        let mut name: String = rest.by_ref().take(author::LONGEST).collect();
        if rest.next().is_some() && Author::read(&name).key.is_some() {
            name.pop();
        }
        (!name.is_empty()).then_some(Self::Author(name))
    }

    /// All of these as texts, for an array in a query.
    pub fn texts<'a>(accounts: impl IntoIterator<Item = &'a Self>) -> Vec<String> {
        accounts.into_iter().map(Self::to_string).collect()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Customer(account) => write!(formatter, "customer:{account}"),
            Self::Operator(account) => write!(formatter, "operator:{account}"),
            Self::Author(name) => write!(formatter, "author:{name}"),
            Self::Gateway => formatter.write_str("gateway"),
            Self::AuditFund => formatter.write_str("audit_fund"),
            Self::Losses => formatter.write_str("losses"),
            Self::External => formatter.write_str("external"),
        }
    }
}

/// A text that names no account of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an account of the ledger is 'customer:<id>', 'operator:<id>', 'author:<name>', 'gateway', 'audit_fund', 'losses' or 'external'"
)]
pub struct NoAccount;

impl FromStr for Account {
    type Err = NoAccount;

    fn from_str(text: &str) -> Result<Self, NoAccount> {
        let id = |text: &str| text.parse::<Uuid>().map_err(|_| NoAccount);
        match text.split_once(':') {
            Some(("customer", account)) => Ok(Self::Customer(id(account)?)),
            Some(("operator", account)) => Ok(Self::Operator(id(account)?)),
            Some(("author", name)) => Self::author(name).filter(|author| author.to_string() == text).ok_or(NoAccount),
            None if text == "gateway" => Ok(Self::Gateway),
            None if text == "audit_fund" => Ok(Self::AuditFund),
            None if text == "losses" => Ok(Self::Losses),
            None if text == "external" => Ok(Self::External),
            _ => Err(NoAccount),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_names_no_account_is_refused() {
        for wrong in
            ["", "customer", "customer:", "customer:x", "Gateway", "gateway:", "author:", "author: ", "author:a\0b"]
        {
            assert_eq!(wrong.parse::<Account>(), Err(NoAccount), "{wrong:?}");
        }
        assert_eq!(format!("author:{}", "a".repeat(201)).parse::<Account>(), Err(NoAccount));
    }

    #[test]
    fn an_author_s_name_always_fits() {
        assert_eq!(Account::author(&"é".repeat(500)), Some(Account::Author("é".repeat(200))));
        assert_eq!(Account::author(" \0"), None);
        let keyed = format!("{} ed25519:{}", "n".repeat(148), "A".repeat(43));
        assert_eq!((keyed.len(), Author::read(&keyed).key.is_some()), (200, true));
        assert_eq!(Account::author(&keyed), Some(Account::Author(keyed.clone())));
        let cut = Account::author(&format!("{keyed} and more"));
        assert_eq!(cut, Some(Account::Author(keyed[..199].to_owned())), "no key that the manifest has not");
    }

    proptest! {
        #[test]
        fn text_and_type_are_the_same_account(id in any::<u128>(), name in "[^\0]{1,200}", pick in 0_usize..7) {
            let id = Uuid::from_u128(id);
            let author = Account::author(&name).unwrap_or(Account::Gateway);
            let all = [Account::Customer(id), Account::Operator(id), author, Account::Gateway, Account::AuditFund,
                Account::Losses, Account::External];
            prop_assert_eq!(all[pick].to_string().parse::<Account>(), Ok(all[pick].clone()));
        }
    }
}

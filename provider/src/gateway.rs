//! A gateway as the node's operator names it: by one address, or by several of the same gateway.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use anyhow::bail;
use url::Url;

/// A gateway to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// At least one; all lead to the same gateway.
    pub addresses: Vec<Url>,
}

impl FromStr for Gateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = |text: &str| Url::parse(text.trim()).map_err(|error| format!("'{text}' is no address: {error}"));
        text.split(',').map(address).collect::<Result<_, _>>().map(|addresses| Self { addresses })
    }
}

/// Its addresses, as they are given.
impl Display for Gateway {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let addresses: Vec<&str> = self.addresses.iter().map(Url::as_str).collect();
        f.write_str(&addresses.join(","))
    }
}

impl Gateway {
    /// What is given for this gateway: `HOST=…` or `HOST:PORT=…`.
    fn own<'a>(&self, given: &'a str) -> Option<&'a str> {
        let (whose, what) = given.split_once('=')?;
        let is_it = |address: &Url| {
            let host = address.host_str().unwrap_or_default();
            let port = address.port_or_known_default().unwrap_or_default();
            whose == host || whose == format!("{host}:{port}")
        };
        self.addresses.iter().any(is_it).then_some(what)
    }
}

/// What is given for one of these gateways, by `--token` or `--token-file`: one that names it, or the one there is if there
/// is but one gateway. None if there is nothing for it.
pub fn given_for<'a>(gateway: &Gateway, all: &[Gateway], given: &'a [String]) -> Option<&'a str> {
    let own = given.iter().find_map(|given| gateway.own(given));
    own.or_else(|| given.first().filter(|_| all.len() == 1).map(String::as_str))
        .filter(|given| !given.trim().is_empty())
}

/// A token says whose it is when there are several gateways: none may see another's.
///
/// # Errors
/// Names what is wrong, and never the token.
pub fn check_given(flag: &str, all: &[Gateway], given: &[String]) -> anyhow::Result<()> {
    let given: Vec<&String> = given.iter().filter(|given| !given.trim().is_empty()).collect();
    if all.len() < 2 && given.len() > 1 {
        bail!("{flag} is given {} times, and there are not as many gateways", given.len());
    }
    if all.len() > 1 && given.iter().any(|given| all.iter().all(|gateway| gateway.own(given).is_none())) {
        let host = all.first().and_then(|gateway| gateway.addresses.first()).and_then(|address| address.host_str());
        bail!("there are several gateways: say for which each {flag} is, as in {flag} {}=…", host.unwrap_or("HOST"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways(texts: &[&str]) -> Vec<Gateway> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn given(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_gateway_has_one_address_or_several() {
        let [one, two] = gateways(&["http://a", "http://a, https://b:8443"]).try_into().unwrap();
        assert_eq!(one.to_string(), "http://a/");
        assert_eq!(two.to_string(), "http://a/,https://b:8443/");
        assert!("".parse::<Gateway>().is_err() && "http://a,b".parse::<Gateway>().is_err());
    }

    #[test]
    fn one_gateway_takes_the_token_as_it_is() {
        let all = gateways(&["https://a"]);
        assert_eq!(given_for(&all[0], &all, &given(&["enrol-cw-1"])), Some("enrol-cw-1"));
        assert_eq!(given_for(&all[0], &all, &given(&["a=enrol-cw-1"])), Some("enrol-cw-1"));
        assert_eq!(given_for(&all[0], &all, &given(&["/keys/b=1/token"])), Some("/keys/b=1/token"), "a path");
        assert_eq!(given_for(&all[0], &all, &given(&[" "])), None, "an empty variable");
        assert_eq!(given_for(&all[0], &all, &[]), None);
        assert!(check_given("--token", &all, &given(&["1"])).is_ok() && check_given("--token", &all, &[]).is_ok());
        assert!(check_given("--token", &all, &given(&["1", "2"])).is_err());
    }

    #[test]
    fn of_several_gateways_none_sees_anothers_token() {
        let all = gateways(&["https://a,https://b", "http://c:8080"]);
        let tokens = given(&["b=for-ab", "c:8080=for-c"]);
        assert!(check_given("--token", &all, &tokens).is_ok());
        assert_eq!(given_for(&all[0], &all, &tokens), Some("for-ab"));
        assert_eq!(given_for(&all[1], &all, &tokens), Some("for-c"));
        for secret in ["s3cret", "d=s3cret", "c:80=s3cret"] {
            let tokens = given(&[secret]);
            assert_eq!(given_for(&all[0], &all, &tokens), None);
            let refused = check_given("--token", &all, &tokens).unwrap_err().to_string();
            assert!(refused.contains("--token a=…") && !refused.contains("s3cret"), "{refused}");
        }
    }
}

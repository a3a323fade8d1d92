use openapi::grid;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

const KEY: &str = "secret-key-0123456789";

/// A server on this machine that gives every caller the same answer and keeps what it was asked.
struct Server {
    base: Url,
    asked: mpsc::UnboundedReceiver<String>,
}

impl Server {
    /// None: it takes the request and never answers.
    async fn new(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (sender, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut caller, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(caller.read_u8().await.unwrap());
                }
                sender.send(String::from_utf8(request).unwrap()).unwrap();
                if let Some(answer) = &answer {
                    // Who has read enough hangs up.
                    let _ = caller.write_all(answer.as_bytes()).await;
                } else {
                    open.push(caller);
                }
            }
        });
        Self { base, asked }
    }

    async fn saying(body: &str) -> Self {
        let length = body.len();
        Self::new(Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"))).await
    }
}

fn maps(zone: &str) -> Service {
    Service::ElectricityMaps { zone: zone.to_owned(), key: SecretString::from(KEY) }
}

fn live(zone: &str, service: Service, server: &Server) -> LiveGrid {
    LiveGrid::new(grid::zone(zone).unwrap(), service, Some(&server.base)).unwrap()
}

fn own(zone: &str, server: &Server) -> LiveGrid {
    let address = format!("{}intensity?token={KEY}", server.base);
    live(zone, Service::Address(SecretString::from(address)), server)
}

fn maps_says(grams: f64, at: SystemTime) -> String {
    let at = OffsetDateTime::from(at).format(&Rfc3339).unwrap();
    format!(r#"{{"zone":"DE","carbonIntensity":{grams},"datetime":"{at}","emissionFactorType":"lifecycle"}}"#)
}

const NOON: Duration = Duration::from_secs(1_790_000_000);

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOON
}

#[tokio::test]
async fn a_live_figure_is_used_until_it_is_two_hours_old() {
    let mut server = Server::saying(&maps_says(120.0, noon())).await;
    let live = live("DE", maps("DE"), &server);
    let annual = grid::zone("DE").unwrap().grid();
    assert_eq!(live.grid(noon()), annual, "nothing is known yet");
    live.refresh(noon()).await.unwrap();
    let expected = Grid {
        zone: "DE".to_owned(),
        mg_per_kwh: 120_000,
        source: "electricity-maps-live".to_owned(),
        basis: "lifecycle-consumption".to_owned(),
    };
    for (later, used) in
        [(Duration::ZERO, &expected), (FRESH_FOR, &expected), (FRESH_FOR + Duration::from_secs(1), &annual)]
    {
        assert_eq!(live.grid(noon() + later), *used, "{later:?}");
    }
    assert_eq!(live.grid(noon() - AHEAD * 2), annual, "a clock that went back");
    let asked = server.asked.recv().await.unwrap();
    assert!(asked.starts_with("GET /v3/carbon-intensity/latest?zone=DE HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("\r\nauth-token: {KEY}\r\n")), "{asked}");
}

#[tokio::test]
async fn great_britain_is_asked_without_a_key() {
    let body = r#"{"data":[{"from":"2026-09-21T13:30Z","to":"2026-09-21T14:00Z","intensity":{"forecast":90,"actual":88,"index":"low"}}]}"#;
    let mut server = Server::saying(body).await;
    let live = live("UK", Service::CarbonIntensity, &server);
    live.refresh(noon()).await.unwrap();
    let grid = live.grid(noon());
    assert_eq!((grid.mg_per_kwh, grid.source.as_str()), (88_000, "carbon-intensity-gb-live"));
    let asked = server.asked.recv().await.unwrap();
    assert!(asked.starts_with("GET /intensity HTTP/1.1\r\n") && !asked.contains("auth-token"), "{asked}");
}

#[tokio::test]
async fn an_address_of_ones_own_is_asked_as_it_is() {
    let mut server = Server::saying(r#"{"g_per_kwh":40.5}"#).await;
    let live = own("FR", &server);
    live.refresh(noon()).await.unwrap();
    assert_eq!(live.grid(noon()).mg_per_kwh, 40_500);
    let asked = server.asked.recv().await.unwrap();
    assert!(asked.starts_with(&format!("GET /intensity?token={KEY} HTTP/1.1\r\n")), "{asked}");
}

#[tokio::test]
async fn a_figure_that_no_hour_has_is_refused_with_the_reason() {
    for (grams, said) in [("0", 0), ("5", 5_000), ("1600", 1_600_000), ("1e300", u64::MAX)] {
        let server = Server::saying(&format!(r#"{{"g_per_kwh":{grams}}}"#)).await;
        let live = own("DE", &server);
        let error = live.refresh(noon()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("operator-live says {said} mg/kWh, and an hour in DE has 16705 to 1500000 mg/kWh")
        );
        assert_eq!(live.grid(noon()).source, "ember-2025");
    }
}

#[tokio::test]
async fn history_and_the_future_are_refused() {
    for at in [noon() - FRESH_FOR - Duration::from_secs(1), noon() + AHEAD + Duration::from_secs(1)] {
        let server = Server::saying(&maps_says(120.0, at)).await;
        let error = live("DE", maps("DE"), &server).refresh(noon()).await.unwrap_err();
        assert_eq!(error, LiveError::Old("electricity-maps-live"));
    }
}

#[tokio::test]
async fn trouble_leaves_the_last_figure_until_it_is_old() {
    let good = Server::saying(&maps_says(120.0, noon())).await;
    let mut live = live("DE", maps("DE"), &good);
    live.refresh(noon()).await.unwrap();
    let bad = Server::saying("no JSON").await;
    live.address = SecretString::from(bad.base.to_string());
    assert_eq!(live.refresh(noon()).await, Err(LiveError::Nonsense("electricity-maps-live")));
    assert_eq!(live.grid(noon()).mg_per_kwh, 120_000);
}

#[tokio::test]
async fn no_error_and_no_debug_text_holds_a_key() {
    let elsewhere = Server::saying(&maps_says(120.0, noon())).await;
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {}\r\nconnection: close\r\n\r\n", elsewhere.base);
    let long = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat(LONGEST_ANSWER + 1));
    let broken = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{".to_owned();
    let denied = format!("HTTP/1.1 401 {KEY}\r\nconnection: close\r\n\r\n{KEY}");
    let status = |status| LiveError::Status { source_name: "operator-live", status };
    let cases = [
        (Some(redirect), status(302)),
        (Some(denied), status(401)),
        (Some(long), LiveError::TooLong("operator-live")),
        (Some(broken), LiveError::Unreachable("operator-live")),
        (None, LiveError::Slow("operator-live")),
    ];
    for (answer, expected) in cases {
        let server = Server::new(answer).await;
        let mut live = own("DE", &server);
        if matches!(expected, LiveError::Slow(_)) {
            live.within = Duration::from_millis(50);
        }
        let error = live.refresh(noon()).await.unwrap_err();
        assert_eq!(error, expected);
        assert!(!format!("{error:?} {error} {:?} {:?}", live.service, live.key).contains(KEY));
    }
    let mut elsewhere = elsewhere;
    assert!(elsewhere.asked.try_recv().is_err(), "a redirect is not followed");
    assert!(!format!("{:?} {:?}", maps("DE"), maps("DE").key().unwrap()).contains(KEY));
}

#[tokio::test]
async fn nobody_there_is_an_error_without_details() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let live = LiveGrid::new(grid::zone("DE").unwrap(), maps("DE"), Some(&base)).unwrap();
    assert_eq!(live.refresh(noon()).await.unwrap_err().to_string(), "electricity-maps-live can't be reached");
}

#[test]
fn a_service_that_cannot_be_used_is_refused_at_the_start() {
    let new = |zone: &str, service: Service, base: Option<&str>| {
        let base = base.map(|base| Url::parse(base).unwrap());
        LiveGrid::new(grid::zone(zone).unwrap(), service, base.as_ref()).err()
    };
    let address = |text: &str| Service::Address(SecretString::from(text));
    assert_eq!(
        new("DE", Service::CarbonIntensity, None).unwrap().to_string(),
        "carbon-intensity-gb-live knows Great Britain only, and the node is in DE"
    );
    assert_eq!(new("GB", Service::CarbonIntensity, None), None);
    for wrong in ["", "intensity", "ftp://example.org/x", "file:///etc/passwd", "data:,1"] {
        assert_eq!(new("DE", address(wrong), None), Some(LiveError::Address), "{wrong}");
    }
    assert_eq!(new("DE", address("http://192.0.2.1/grid"), None), None);
    assert_eq!(new("DE", maps("DE"), None), None);
    assert_eq!(new("DE", maps("DE"), Some("http://192.0.2.1")), Some(LiveError::PlainText));
    for key in ["", " ", "line\nbreak"] {
        let service = Service::ElectricityMaps { zone: "DE".to_owned(), key: SecretString::from(key) };
        assert_eq!(new("DE", service, None), Some(LiveError::Key), "{key:?}");
    }
}

#[tokio::test]
async fn it_asks_at_once_and_stops_when_told() {
    let mut server = Server::saying(r#"{"g_per_kwh":300}"#).await;
    let live = Arc::new(own("DE", &server));
    let stop = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&live).run(stop.clone()));
    server.asked.recv().await.unwrap();
    stop.cancel();
    task.await.unwrap();
}

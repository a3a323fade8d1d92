//! Meters that take their time are asked by a task of their own; what they said last is at hand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Transport, Trouble, ask};
use crate::energy::sensor::{Description, Reading, Sensor, SensorError, Value};

/// So many questions without an answer, and the meter is gone.
const MISSES: u32 = 3;

/// What an answer says.
pub(in super::super) type Figure = Box<dyn Fn(&[u8]) -> Result<Value, SensorError> + Send + Sync>;

/// Where a meter's figure is.
pub(in super::super) struct Source<T> {
    pub(in super::super) transport: T,
    pub(in super::super) path: String,
    pub(in super::super) figure: Figure,
}

impl<T: Transport> Source<T> {
    async fn look(&self, latest: &Mutex<Latest>) {
        let asked = Instant::now();
        let answer = ask(&self.transport, &self.path).await;
        let figure = answer.map(|body| (self.figure)(&body));
        locked(latest).take(asked, Instant::now(), figure);
    }

    async fn poll(self, every: Duration, latest: Arc<Mutex<Latest>>) {
        let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
        // A meter that was slow is not asked twice in a row for it.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look(&latest).await;
        }
    }
}

/// What a meter said last.
#[derive(Debug, Default)]
struct Latest {
    figure: Option<(Instant, Value)>,
    /// Questions without an answer since.
    missed: u32,
    /// What became of the last question, if no figure.
    error: Option<SensorError>,
}

impl Latest {
    /// The figure was true half-way between question and answer, as well as anyone can know.
    fn take(&mut self, asked: Instant, answered: Instant, figure: Result<Result<Value, SensorError>, Trouble>) {
        match figure {
            Ok(Ok(value)) => *self = Self { figure: Some((asked + (answered - asked) / 2, value)), ..Self::default() },
            Ok(Err(error)) => self.error = Some(error),
            Err(trouble) => {
                self.missed += 1;
                self.error = Some(trouble.into());
            }
        }
    }

    /// The last figure with its time, even if the meter has not answered the last question or two.
    fn read(&self) -> Result<Reading, SensorError> {
        match (&self.error, self.figure) {
            (Some(SensorError::Gone(_)) | None, Some((at, value))) if self.missed < MISSES => {
                Ok(Reading { at: at.into_std(), value, foreign_microjoules: 0 })
            }
            (Some(error), _) => Err(error.clone()),
            (None, _) => Err(SensorError::Gone("it has not answered yet".to_owned())),
        }
    }
}

/// A meter that is asked time and again until this is dropped.
pub(in super::super) struct Polled {
    description: Description,
    latest: Arc<Mutex<Latest>>,
    task: AbortHandle,
}

impl Polled {
    /// Asks for the first figure, and from then on every so often.
    ///
    /// # Errors
    /// When there is no first figure.
    pub(in super::super) async fn start<T: Transport>(
        source: Source<T>,
        description: Description,
        every: Duration,
    ) -> Result<Self, SensorError> {
        let latest = Arc::<Mutex<Latest>>::default();
        source.look(&latest).await;
        locked(&latest).read()?;
        let task = tokio::spawn(source.poll(every, Arc::clone(&latest))).abort_handle();
        Ok(Self { description, latest, task })
    }
}

impl Sensor for Polled {
    fn description(&self) -> &Description {
        &self.description
    }

    fn read(&mut self) -> Result<Reading, SensorError> {
        locked(&self.latest).read()
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked(latest: &Mutex<Latest>) -> MutexGuard<'_, Latest> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use openapi::energy::{Boundary, Tier};

    use super::super::fake::Fake;
    use super::super::{Answer, parse};
    use super::*;
    use crate::energy::sensor::{Kind, Pool};

    const SECOND: Duration = Duration::from_secs(1);

    fn gauge(milliwatts: u64) -> Value {
        Value::Gauge { milliwatts }
    }

    async fn start(fake: &Fake) -> Result<Polled, SensorError> {
        let figure: Figure = Box::new(|body| parse(body).map(gauge));
        let source = Source { transport: fake.clone(), path: "/power".to_owned(), figure };
        let description = Description {
            name: "meter".to_owned(),
            back_end: "tasmota",
            pool: Pool::Wall,
            kind: Kind::Gauge,
            boundary: Boundary::Wall,
            tier: Tier::D,
            resolution: SECOND,
            most_milliwatts: None,
        };
        Polled::start(source, description, SECOND).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_figure_is_dated_half_way_between_question_and_answer() {
        let fake = Fake::new();
        fake.play(&serde_json::json!({"/power": {"body": 7, "delay_ms": 300}}));
        let begin = Instant::now();
        let mut polled = start(&fake).await.unwrap();
        let reading = polled.read().unwrap();
        assert_eq!((reading.value, reading.foreign_microjoules), (gauge(7), 0));
        assert_eq!(reading.at, (begin + Duration::from_millis(150)).into_std());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_meter_keeps_its_last_figure_for_a_while_and_comes_back() {
        let fake = Fake::new();
        fake.json("/power", "7");
        let mut polled = start(&fake).await.unwrap();
        let first = polled.read().unwrap();
        fake.play(&serde_json::json!({"/power": {"body": 8, "delay_ms": 5_000}}));
        // Asked after 1, 4 and 7 s, and given up 2 s later each time.
        tokio::time::sleep(Duration::from_millis(6_500)).await;
        assert_eq!(polled.read(), Ok(first), "with its old time");
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        assert!(matches!(polled.read(), Err(SensorError::Gone(_))));
        fake.json("/power", "9");
        tokio::time::sleep(SECOND * 4).await;
        assert_eq!(polled.read().unwrap().value, gauge(9));
    }

    #[tokio::test(start_paused = true)]
    async fn a_meter_that_talks_nonsense_or_asks_for_a_password_is_not_quoted_any_more() {
        let fake = Fake::new();
        fake.json("/power", "7");
        let mut polled = start(&fake).await.unwrap();
        fake.json("/power", "\"seven\"");
        tokio::time::sleep(SECOND * 2).await;
        assert!(matches!(polled.read(), Err(SensorError::Nonsense(_))));
        fake.answer("/power", Answer { status: 401, content_type: String::new(), body: vec![] });
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!(polled.read(), Err(SensorError::Denied { path: "meter/power".into() }));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_any_more_when_the_sensor_is_gone() {
        let fake = Fake::new();
        fake.json("/power", "7");
        let polled = start(&fake).await.unwrap();
        let task = polled.task.clone();
        drop(polled);
        tokio::task::yield_now().await;
        assert!(task.is_finished());
        fake.silence("/power", Duration::ZERO);
        assert!(start(&fake).await.is_err(), "and none begins without a figure");
    }
}

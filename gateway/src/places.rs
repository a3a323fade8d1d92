//! How many connections of clients there are at once. When all places are taken, whoever has been silent for longest gives
//! one up: first those that have never asked for anything, then those that rest between two requests. So nobody can keep
//! others out by holding connections open, and none that is being answered is closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

/// Descriptors for everything else: database, journal, nodes, other replicas.
const RESERVED: u64 = 256;
/// Even where the system allows next to nothing.
const FEWEST: u64 = 16;

/// The places of a listener.
pub(crate) struct Places {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those that were told to close are not counted.
    taken: usize,
    turn: u64,
    /// By when they fell silent.
    silent: BTreeMap<(Silence, u64), CancellationToken>,
}

/// Who gives up a place first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Silence {
    NeverSpoke,
    Rests,
}

impl Places {
    /// So many places.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::default() })
    }

    /// A place for a connection that has come. None when all others are being answered.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.lock();
        if state.taken >= self.most && !state.give_up_one() {
            return None;
        }
        state.taken += 1;
        let end = CancellationToken::new();
        let at = state.fall_silent(Silence::NeverSpoke, &end);
        drop(state);
        let standing = Standing { uses: 0, has_spoken: false, at: Some(at) };
        Some(Place(Arc::new(Holder { places: Arc::clone(self), end, standing: Mutex::new(standing) })))
    }

    /// Has so many silent connections closed: the system gives no more descriptors.
    pub(crate) fn make_room(&self, count: usize) {
        let mut state = self.lock();
        for _ in 0..count {
            if !state.give_up_one() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fall_silent(&mut self, silence: Silence, end: &CancellationToken) -> (Silence, u64) {
        self.turn += 1;
        self.silent.insert((silence, self.turn), end.clone());
        (silence, self.turn)
    }

    fn give_up_one(&mut self) -> bool {
        let Some((_, end)) = self.silent.pop_first() else { return false };
        end.cancel();
        self.taken -= 1;
        true
    }
}

/// The place of one connection, until it is dropped.
#[derive(Clone)]
pub(crate) struct Place(Arc<Holder>);

struct Holder {
    places: Arc<Places>,
    end: CancellationToken,
    standing: Mutex<Standing>,
}

struct Standing {
    /// Answers that are being given.
    uses: usize,
    has_spoken: bool,
    /// Where it stands among the silent ones.
    at: Option<(Silence, u64)>,
}

impl Place {
    /// Waits until the place is needed for another connection.
    pub(crate) async fn given_up(&self) {
        self.0.end.cancelled().await;
    }

    /// True once it has asked for something.
    pub(crate) fn has_spoken(&self) -> bool {
        self.0.standing().has_spoken
    }

    /// True while it gets an answer.
    pub(crate) fn is_answering(&self) -> bool {
        self.0.standing().uses > 0
    }

    /// An answer begins.
    pub(crate) fn begin(&self) -> Answering {
        let mut standing = self.0.standing();
        (standing.uses, standing.has_spoken) = (standing.uses + 1, true);
        if let Some(at) = standing.at.take() {
            self.0.places.lock().silent.remove(&at);
        }
        Answering(self.clone())
    }
}

impl Holder {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let at = self.standing().at;
        let mut state = self.places.lock();
        if let Some(at) = at {
            state.silent.remove(&at);
        }
        // Whoever was told to close is not counted any more.
        if !self.end.is_cancelled() {
            state.taken -= 1;
        }
    }
}

/// An answer that is being given on a connection.
pub(crate) struct Answering(Place);

impl Drop for Answering {
    fn drop(&mut self) {
        let holder = &self.0.0;
        let mut standing = holder.standing();
        standing.uses -= 1;
        if standing.uses == 0 && !holder.end.is_cancelled() {
            standing.at = Some(holder.places.lock().fall_silent(Silence::Rests, &holder.end));
        }
    }
}

/// As many connections as are wanted, or as the system has descriptors for: the process may have as many as it can get, and
/// a quarter is for everything else.
pub(crate) fn within_limits(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files can't be raised to what the system allows");
    }
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let room = room(files);
    if room >= wanted as u64 {
        return wanted;
    }
    tracing::warn!(
        "the system allows {files} open files, which is enough for {room} of {wanted} connections: raise its limit (`ulimit -n`, \
         LimitNOFILE, or Docker's --ulimit nofile), or lower COMMONWATT_CONNECTIONS"
    );
    usize::try_from(room).unwrap_or(wanted)
}

fn room(files: u64) -> u64 {
    files.saturating_sub(RESERVED.max(files / 4)).max(FEWEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_given_up(place: &Place) -> bool {
        place.0.end.is_cancelled()
    }

    #[test]
    fn who_never_spoke_gives_up_first_then_who_rests_longest_and_nobody_who_is_answered() {
        let places = Places::new(3);
        let [answered, rests, mute] = [(); 3].map(|()| places.take().unwrap());
        let answering = answered.begin();
        drop(rests.begin());
        let newcomer = places.take().unwrap();
        assert!(is_given_up(&mute) && !is_given_up(&rests) && !is_given_up(&newcomer));
        let asked = newcomer.begin();
        let another = places.take().unwrap();
        assert!(is_given_up(&rests));
        let more = another.begin();
        assert!(places.take().is_none(), "all are being answered");
        drop(answering);
        assert!(places.take().is_some() && is_given_up(&answered), "whose answer has ended rests");
        drop((asked, more));
    }

    #[test]
    fn several_answers_on_one_connection_are_one_place_and_its_end_frees_it() {
        let places = Places::new(1);
        let place = places.take().unwrap();
        let (one, two) = (place.begin(), place.begin());
        drop(one);
        assert!(places.take().is_none());
        drop(two);
        assert!(place.has_spoken());
        drop(place);
        let next = places.take().unwrap();
        assert!(!next.has_spoken());
        places.make_room(5);
        assert!(is_given_up(&next) && places.take().is_some());
    }

    #[test]
    fn a_quarter_of_the_descriptors_is_for_everything_else() {
        assert_eq!([100, 256, 1_024, 20_000, 1_048_576].map(room), [16, 16, 768, 15_000, 786_432]);
    }

    proptest! {
        #[test]
        fn places_are_neither_lost_nor_made(steps in proptest::collection::vec((0_u8..4, 0_usize..8), 0..200)) {
            const MOST: usize = 4;
            let places = Places::new(MOST);
            let (mut open, mut answering) = (Vec::new(), Vec::new());
            for (what, which) in steps {
                match what {
                    0 => open.extend(places.take()),
                    1 if which < open.len() => drop(open.swap_remove(which)),
                    2 if which < open.len() => answering.push(Place::begin(&open[which])),
                    3 if which < answering.len() => drop(answering.swap_remove(which)),
                    _ => {}
                }
                let state = places.lock();
                prop_assert!(state.taken <= MOST && state.silent.len() <= state.taken);
            }
            drop((open, answering));
            let state = places.lock();
            prop_assert_eq!((state.taken, state.silent.len()), (0, 0));
        }
    }
}

//! Grams below which nobody gets: what it would take if every step were full, on the nodes where that costs least.

use super::fleet::Machine;
use super::node::Request;
use super::trace::{SECONDS_PER_STEP, STEPS};

/// The fluid bound. In each half hour its requests are a fluid that fills the nodes in the order of their grams per
/// request, each with all of its slots in every step and up to the requests that it can take then. A real schedule has
/// emptier steps, wakes nodes and takes requests whole, so it costs more. Latency is no object here.
pub(super) fn fluid(machines: &[Machine], requests: &[Request]) -> f64 {
    let mut rest = requests.iter().peekable();
    let mut grams = 0.0;
    for step in 0..STEPS {
        let end = (step + 1) as f64 * SECONDS_PER_STEP;
        let (mut count, mut prompt, mut completion) = (0.0, 0.0, 0.0);
        while let Some(request) = rest.next_if(|request| request.at < end) {
            count += 1.0;
            prompt += f64::from(request.prompt);
            completion += f64::from(request.completion);
        }
        let (prompt, completion) = (prompt / count, completion / count);
        let offer = |machine: &Machine| {
            let (truth, slots) = (machine.truth(), f64::from(machine.class.slots));
            let joules = completion * (truth.step / slots + truth.decode) + prompt * truth.prefill;
            let seconds = completion * machine.step_seconds(machine.class.slots as usize) / slots
                + prompt * machine.class.prefill_ms / 1e3;
            (joules * machine.trace[step] as f64 / 3.6e9, SECONDS_PER_STEP / seconds)
        };
        let mut offers: Vec<(f64, f64)> = machines.iter().map(offer).collect();
        offers.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        for (each, most) in offers {
            let taken = most.min(count);
            grams += taken * each;
            count -= taken;
        }
    }
    grams
}

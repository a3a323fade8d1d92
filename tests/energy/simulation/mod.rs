//! Rules of attribution, judged on a simulated machine of which the truth is known.

mod cases;
mod counter;
mod coverage;
mod ours;
mod quality;
mod random;
mod rules;
mod scenario;

#[cfg(test)]
mod tests;

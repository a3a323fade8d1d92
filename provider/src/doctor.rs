//! `commonwatt-node doctor`: what the node finds on this machine, what that means, and what would make it better; and what
//! is between it and its gateways.

use std::fmt::Write as _;

use openapi::energy::Tier;

use crate::checkup::{self, Outcome};
use crate::config::DoctorConfig;
use crate::energy::grid::Site;
use crate::energy::sensor::{Finding, Kind};
use crate::energy::setup::{Surveyed, survey};
use crate::upstream::Upstream;

/// What was found, for people to read.
pub struct Report {
    pub text: String,
    /// Steps on the way to work that fail.
    pub failed: usize,
}

/// Looks at the machine, and at its gateways if there are any.
///
/// # Errors
/// When what the operator says of the machine, or of his server, can't be.
pub async fn report(config: &DoctorConfig) -> anyhow::Result<Report> {
    let surveyed = survey(&config.energy).await?;
    let mut text = String::new();
    // Writing to a text does not fail.
    let _ = machine(&mut text, &surveyed);
    let _ = sensors(&mut text, &surveyed);
    let _ = site(&mut text, &surveyed.site);
    if config.upstream.upstream.is_some() {
        let _ = writeln!(text, "upstream   {}", Upstream::describe(&config.upstream).await?);
    }
    let steps = if config.gateway.is_empty() { Vec::new() } else { checkup::check(config).await };
    let _ = steps.iter().try_for_each(|step| writeln!(text, "{step}"));
    let failed = steps.iter().filter(|step| step.outcome == Outcome::Failed).count();
    Ok(Report { text, failed })
}

fn machine(text: &mut String, Surveyed { machine, estimate, .. }: &Surveyed) -> std::fmt::Result {
    let name = machine.model_name.as_deref().unwrap_or("unknown");
    let kind = if machine.virtual_machine { "a virtual machine" } else { "a machine of its own" };
    let memory = machine.memory_bytes as f64 / f64::from(1 << 30);
    writeln!(text, "machine    {name}, {} threads, {memory:.0} GiB, {kind}", machine.threads)?;
    let watts = |milliwatts: u64| milliwatts as f64 / 1e3;
    writeln!(
        text,
        "estimate   {:.1} W idle, {:.1} W busy: {}",
        watts(estimate.watts.idle_milliwatts),
        watts(estimate.watts.busy_milliwatts),
        estimate.basis
    )
}

fn sensors(text: &mut String, Surveyed { discovered, .. }: &Surveyed) -> std::fmt::Result {
    let mut found = 0;
    for finding in &discovered.findings {
        match finding {
            Finding::Found(description) => {
                let kind = match description.kind {
                    Kind::Counter => "counts energy",
                    Kind::Gauge => "shows power",
                    Kind::Estimate => "estimates",
                };
                found += usize::from(description.kind != Kind::Estimate);
                let (name, tier) = (&description.name, description.tier.letter());
                writeln!(text, "found      {:<15} {name}: {kind}, tier {tier} at best", description.back_end)?;
            }
            Finding::Unusable { back_end, error, remedy } => {
                writeln!(text, "unusable   {back_end:<15} {error}. {remedy}")?;
            }
            Finding::Absent { back_end, looked_at } => writeln!(text, "absent     {back_end:<15} {looked_at}")?,
        }
    }
    if found == 0 {
        writeln!(
            text,
            "tier       {}: nothing here measures energy, so figures are estimates, right within a factor",
            Tier::E.letter()
        )?;
        writeln!(text, "           of 2.5. A processor's counters (RAPL), an accelerator's (NVML), or a smart plug")?;
        writeln!(text, "           (--smart-plug http://…) would make them better.")?;
    }
    Ok(())
}

fn site(text: &mut String, site: &Site) -> std::fmt::Result {
    match site.zone {
        Some(zone) => writeln!(
            text,
            "grid       {} ({}): {:.1} g CO2e/kWh, {} ({}), {}",
            zone.code,
            zone.name,
            zone.mg_per_kwh as f64 / 1e3,
            zone.source.title,
            zone.year,
            zone.source.basis
        )?,
        None => writeln!(text, "grid       unknown, so no carbon is shown: say where the machine is with --zone")?,
    }
    writeln!(text, "site       PUE {} ({})", f64::from(site.pue_milli) / 1e3, site.pue_source.label())?;
    site.warnings.iter().try_for_each(|warning| writeln!(text, "warning    {warning}"))
}

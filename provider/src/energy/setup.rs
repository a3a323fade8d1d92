//! Puts the metering of a machine together from what its operator says and what it has.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use openapi::energy::{EnergyOffer, EnergyTerms};
use openapi::manifest::ModelManifest;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::Outlets;
use super::estimate::priors::Model;
use super::estimate::{Estimate, Machine, Overrides, estimate};
use super::grid::{Site, Statement};
use super::ledger::Ledger;
use super::live_grid::{LiveGrid, Service};
use super::log::ReportLog;
use super::pool::PoolMeter;
use super::pools::{self, EnginePlace, Work};
use super::sensor::{Discovered, Finding, Login, Places, Pool, RedfishService, discover};
use crate::config::EnergyConfig;
use crate::identity::Identity;
use crate::metrics::Metrics;

/// What a machine is and has, as far as its energy goes.
pub struct Surveyed {
    pub site: Site,
    pub machine: Machine,
    pub estimate: Estimate,
    pub discovered: Discovered,
}

/// Who is told of it.
pub struct Outside<'a> {
    /// Folder and key of the reports that a gateway wants.
    pub reports: Option<(&'a Path, Arc<Identity>)>,
    /// OpenTelemetry collector.
    pub collector: Option<&'a str>,
}

/// A machine whose energy is metered.
pub struct Metered {
    pub ledger: Ledger,
    pub metrics: Arc<Metrics>,
    pub offer: EnergyOffer,
    pub terms: EnergyTerms,
}

/// Looks at the machine and at what its operator says.
///
/// # Errors
/// When what the operator says can't be; the sentence says what to do.
pub async fn survey(config: &EnergyConfig) -> anyhow::Result<Surveyed> {
    let site = statement(config).site(Path::new("/"))?;
    let machine = Machine::read(Path::new("/"));
    let overrides = Overrides { idle_watts: config.idle_watts, busy_watts: config.busy_watts };
    let estimate = estimate(&machine, &overrides);
    let discovered = discover(places(config)?, estimate.watts).await;
    Ok(Surveyed { site, machine, estimate, discovered })
}

fn statement(config: &EnergyConfig) -> Statement {
    Statement {
        zone: config.zone.clone(),
        pue: config.pue.clone(),
        pue_evidence: config.pue_evidence.clone(),
        idle_policy: config.idle_policy.clone(),
        embodied_kilograms: config.embodied_kilograms.clone(),
        lifespan_years: config.lifespan_years.clone(),
    }
}

fn places(config: &EnergyConfig) -> anyhow::Result<Places> {
    let login = match (&config.redfish_user, &config.redfish_password_file) {
        (Some(user), Some(path)) => {
            let password = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the Redfish password from {}", path.display()))?;
            Some(Login { user: user.clone(), password: SecretString::from(password.trim().to_owned()) })
        }
        _ => None,
    };
    let redfish =
        config.redfish.iter().map(|url| RedfishService { url: url.clone(), login: login.clone(), certificate: None });
    Ok(Places { reader: config.energy_reader.clone(), plugs: config.smart_plug.clone(), redfish: redfish.collect() })
}

/// Starts to meter.
///
/// # Errors
/// When the live source of the grid's figures can't be used, or the system gives no thread.
pub fn start(
    config: &EnergyConfig,
    surveyed: Surveyed,
    (manifest, engine): (&ModelManifest, EnginePlace),
    Outside { reports, collector }: Outside<'_>,
    stop: &CancellationToken,
) -> anyhow::Result<Metered> {
    let Surveyed { site, machine, estimate, discovered } = surveyed;
    site.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let live = live_grid(config, &site)?;
    if let Some(live) = &live {
        tokio::spawn(Arc::clone(live).run(stop.clone()));
    }
    let accelerators = accelerators(&discovered.findings);
    let work = Work {
        model: Model {
            name: &manifest.name,
            quantisation: &manifest.quantisation,
            weight_bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            active_parameters: None,
        },
        watts: estimate.watts,
        threads: machine.threads,
        on_accelerators: config.meter_accelerators,
        accelerator: accelerators.first().map(String::as_str),
        engine,
    };
    say(&work);
    let pools = pools::choose(discovered.sensors, &work);
    let log = reports
        .map(|(folder, identity)| ReportLog::open(folder, identity).map(Arc::new))
        .transpose()
        .context("the energy reports of this node can't be kept")?;
    let grid = site.zone.map(|zone| zone.grid());
    let names: Vec<&str> = pools.parts.iter().map(PoolMeter::name).collect();
    let metrics = Arc::new(Metrics::new(&names, collector)?);
    let ledger = Ledger::start(pools, Outlets { log, metrics: Arc::clone(&metrics), grid: live })?;
    let (tier, boundary) = ledger.quality();
    tracing::info!(tier = tier.letter(), basis = estimate.basis, "energy is metered");
    let offer = EnergyOffer {
        zone: site.zone.map(|zone| zone.code.to_owned()),
        pue_milli: site.pue_milli,
        idle_policy: site.idle_policy,
        embodied: site.embodied,
        tier,
        boundary,
        accelerators,
        processor: machine.model_name.unwrap_or_default(),
        processors: machine.threads,
    };
    let terms = EnergyTerms { grid, pue_milli: site.pue_milli, ..EnergyTerms::default() };
    Ok(Metered { ledger, metrics, offer, terms })
}

/// What the operator should know of an engine that is not in this program.
fn say(work: &Work<'_>) {
    match work.engine {
        EnginePlace::Elsewhere => tracing::warn!(
            "the server computes on another machine, so nothing is known of its energy: run this program there, or say \
             --upstream-here if it is this machine after all"
        ),
        EnginePlace::Beside if work.accelerator.is_some() && !work.on_accelerators => tracing::warn!(
            "this machine has accelerators that are not metered: if the server computes on them, say --meter-accelerators"
        ),
        _ => {}
    }
}

/// Names of the accelerators that were found.
fn accelerators(findings: &[Finding]) -> Vec<String> {
    let name = |finding: &Finding| match finding {
        Finding::Found(description) if matches!(description.pool, Pool::Gpu(_)) => Some(description.name.clone()),
        _ => None,
    };
    findings.iter().filter_map(name).collect()
}

fn live_grid(config: &EnergyConfig, site: &Site) -> anyhow::Result<Option<Arc<LiveGrid>>> {
    let Some(source) = config.grid_source.as_deref() else { return Ok(None) };
    let zone =
        site.zone.context("a live source of the grid's figures needs COMMONWATT_ZONE: say where the machine is")?;
    let key = || config.grid_key.clone().context("Electricity Maps asks for a key: give it with COMMONWATT_GRID_KEY");
    let service = match source {
        "carbon-intensity-gb" => Service::CarbonIntensity,
        "electricity-maps" => Service::ElectricityMaps { zone: zone.code.to_owned(), key: key()? },
        address => Service::Address(SecretString::from(address.to_owned())),
    };
    Ok(Some(Arc::new(LiveGrid::new(zone, service, None)?)))
}

/** The lines with which a node joins this gateway. Pure. */

const HERE = new Set(["localhost", "127.0.0.1", "[::1]"]);
const ZONE = /^[A-Z]{2}(-[A-Z0-9]{1,3})?$/;
const PRICE = /^\d{1,10},\d{1,10},\d{1,10}$/;

/** What is wrong with the settings, by field. Nothing but what fits these shapes ever stands in a command. */
export function wrong({ zone, price }) {
    const errors = {};
    if (zone && !ZONE.test(zone)) errors.zone = "Give a country's two letters, such as DE, or a part of one, such as US-CA.";
    if (price && !PRICE.test(price)) errors.price = "Give three whole numbers of nanocredits, such as 100,25,400.";
    return errors;
}

/** The Docker line. A gateway on the reader's own machine is reached only over the machine's own network. */
export function dockerLine(gateway, token, settings) {
    const host = HERE.has(new URL(gateway).hostname) ? " --network host" : "";
    const more = environment(settings).map(([name, value]) => ` -e ${name}=${value}`);
    return [
        `docker run -d --name node --hostname "$(hostname)" --restart unless-stopped --stop-timeout 40${host}`,
        "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges -v node-data:/data",
        `-e COMMONWATT_GATEWAY=${gateway} -e COMMONWATT_TOKEN=${token}${more.join("")} commonwatt-node`,
    ].join(" \\\n  ");
}

/** The line without Docker. */
export function bareLine(gateway, token, { zone, price, keepsNothing }) {
    const more = [
        zone && `--zone ${zone}`,
        price && `--price ${price}`,
        keepsNothing && "--data-collection deny",
    ].filter(Boolean);
    return ["commonwatt-node serve", `--gateway ${gateway}`, `--token ${token}`, ...more].join(" ");
}

function environment({ zone, price, keepsNothing }) {
    const all = [
        ["COMMONWATT_ZONE", zone],
        ["COMMONWATT_PRICE", price],
        ["COMMONWATT_DATA_COLLECTION", keepsNothing && "deny"],
    ];
    return all.filter(([, value]) => value);
}

/** Every page of the console, in the order of the navigation. What has no group is reached otherwise. */
export const PAGES = [
    { name: "overview", label: "Overview", group: "Use", load: () => import("./pages/overview.js") },
    { name: "playground", label: "Playground", group: "Use", load: () => import("./pages/playground.js") },
    { name: "requests", label: "Requests", group: "Use", load: () => import("./pages/requests.js") },
    { name: "keys", label: "Keys", group: "Use", load: () => import("./pages/keys.js") },
    { name: "live", label: "Live", group: "Federation", load: () => import("./pages/live.js") },
    { name: "nodes", label: "Nodes", group: "Federation", load: () => import("./pages/nodes.js") },
    { name: "epochs", label: "Epochs", group: "Federation", load: () => import("./pages/epochs.js") },
    { name: "operator", label: "Operate a node", group: "Federation", load: () => import("./pages/operator.js") },
    {
        name: "administration",
        label: "Administration",
        group: "Gateway",
        adminsOnly: true,
        load: () => import("./pages/administration.js"),
    },
    { name: "statement", label: "Statement", load: () => import("./pages/statement.js") },
    { name: "account", label: "Account", load: () => import("./pages/account.js") },
];

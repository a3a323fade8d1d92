/** What stands around every page: navigation, theme, and who is signed in. */
import { Button } from "./components.js";
import { THEME_CHANGED } from "./chart.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { PAGES } from "./pages.js";

const THEME = "commonwatt.theme";
const THEMES = { system: "System", light: "Light", dark: "Dark" };

export function Shell({ me, current, onSignOut, children }) {
    const [open, setOpen] = useState(false);
    const main = useRef(null);
    useEffect(() => setOpen(false), [current]);
    const skip = (event) => {
        event.preventDefault();
        main.current.focus();
    };
    const escape = (event) => {
        if (event.key === "Escape") setOpen(false);
    };
    return html`<div class="shell" onKeyDown=${escape}>
        <a class="skip" href="#main" onClick=${skip}>Skip to the page</a>
        <header class="bar">
            <${Brand} />
            <button
                type="button"
                class="menu"
                aria-expanded=${String(open)}
                aria-controls="navigation"
                onClick=${() => setOpen(!open)}
            >
                Menu
            </button>
        </header>
        <div class=${`side ${open ? "open" : ""}`} id="navigation">
            <${Navigation} me=${me} current=${current} onFollow=${() => setOpen(false)} />
            <footer>
                <p class="who" title=${me.email}><strong>${me.name}</strong><span>${me.email}</span></p>
                <${Theme} />
                <div class="own">
                    <a
                        class="button quiet"
                        href="#/account"
                        aria-current=${current === "account" ? "page" : undefined}
                        onClick=${() => setOpen(false)}
                    >
                        Account
                    </a>
                    <${Button} kind="quiet" onClick=${onSignOut}>Sign out<//>
                </div>
            </footer>
        </div>
        <main id="main" tabindex="-1" ref=${main}>${children}</main>
    </div>`;
}

export function Brand() {
    return html`<a class="brand" href="#/overview"><img src="icon.svg" alt="" width="24" height="24" />Commonwatt</a>`;
}

function Navigation({ me, current, onFollow }) {
    const shown = PAGES.filter((page) => page.group && (!page.adminsOnly || me.is_admin));
    const groups = [...new Set(shown.map((page) => page.group))];
    const link = ({ name, label }) => html`<li>
        <a href=${`#/${name}`} aria-current=${name === current ? "page" : undefined} onClick=${onFollow}>${label}</a>
    </li>`;
    return html`<nav aria-label="Console">
        ${groups.map(
            (group) => html`<div class="group">
                <p aria-hidden="true">${group}</p>
                <ul aria-label=${group}>
                    ${shown.filter((page) => page.group === group).map(link)}
                </ul>
            </div>`,
        )}
    </nav>`;
}

function Theme() {
    const [theme, setTheme] = useState(localStorage.getItem(THEME) ?? "system");
    const choose = ({ target: { value } }) => {
        if (value === "system") {
            localStorage.removeItem(THEME);
            delete document.documentElement.dataset.theme;
        } else {
            localStorage.setItem(THEME, value);
            document.documentElement.dataset.theme = value;
        }
        setTheme(value);
        dispatchEvent(new Event(THEME_CHANGED));
    };
    return html`<label class="theme">
        <span>Theme</span>
        <select value=${theme} onChange=${choose}>
            ${Object.entries(THEMES).map(([value, text]) => html`<option value=${value} selected=${value === theme}>${text}</option>`)}
        </select>
    </label>`;
}

// Runs before the page is drawn, so that a theme that was chosen doesn't flash in.
{
    const chosen = localStorage.getItem("commonwatt.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}

/** Keeps what is shown fresh while somebody looks. */
import { useEffect } from "../html.js";

/** Calls `reload` every so many seconds while the page is in view, and when it comes into view again. */
export function usePolling(reload, seconds) {
    useEffect(() => {
        const look = () => {
            if (!document.hidden) reload();
        };
        const timer = setInterval(look, seconds * 1000);
        document.addEventListener("visibilitychange", look);
        return () => {
            clearInterval(timer);
            document.removeEventListener("visibilitychange", look);
        };
    }, [reload, seconds]);
}

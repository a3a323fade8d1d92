/** The one place that knows which library renders: Preact's hooks and tagged templates. */
export {
    html,
    render,
    useCallback,
    useEffect,
    useErrorBoundary,
    useMemo,
    useRef,
    useState,
} from "./vendor/htm-preact.standalone.module.js";

/** Several elements in the place of one. */
export const Fragment = ({ children }) => children;

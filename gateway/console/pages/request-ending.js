/** Ending a request that runs. */
import { post } from "../api.js";

/** Ends it in good order: what there is of its answer is delivered, with its figures, and paid for. */
export const endRequest = (id) => post(`/api/requests/${id}/cancel`);

/** Ending a request that runs. */
import { post, Problem } from "../api.js";

/** Ends it in good order: what there is of its answer is delivered, with its figures, and paid for. */
export async function endRequest(id) {
    try {
        await post(`/api/requests/${id}/cancel`);
    } catch (failure) {
        // The reply has no body, which is no JSON either: only a refusal counts.
        if (failure instanceof Problem) throw failure;
    }
}

// Turns on what works better with JavaScript. Every page works without it.
// By the address that the page has it under, so that it is fetched once and kept.
const { initAll } = await import(document.getElementById('govuk-frontend').href)

document.body.classList.add('js-enabled', 'govuk-frontend-supported')
initAll()

// A page that has lost the box must not go on saying that all is well.
const lost = document.getElementById('lost-contact')
document.body.addEventListener('htmx:sendError', () => { if (lost) lost.hidden = false })
document.body.addEventListener('htmx:afterOnLoad', () => { if (lost) lost.hidden = true })

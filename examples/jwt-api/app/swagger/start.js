// Every address is relative, so the page works under whatever prefix the proxy gives it.
window.ui = SwaggerUIBundle({
  url: "../openapi.json",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  tryItOutEnabled: true,
  persistAuthorization: false,
  // The badge would ask a public validator about this address.
  validatorUrl: null,
});
